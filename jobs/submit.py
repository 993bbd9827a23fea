"""Start Flink jobs on the local cluster; from where one goes on is decided in its own program (jobs.begin)."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack

from filelock import FileLock

from infra.config import Settings
from infra.errors import StreamhouseError
from infra.stack import brakes, flink_client, flink_rest, supervise
from jobs import tried_model

SCORER = "score_events"
JOBS = (SCORER, "archive_topics")
"""What the demo starts."""
ALL_JOBS = (*JOBS, "archive_shop")
_SECONDS = 600  # it may have to wait for another start, and then to read all outputs
_STOPPING_SECONDS = 270.0  # the keeper waits a minute for a savepoint, and Flink three for a task that does not end


def submit(settings: Settings, *names: str, flags: Sequence[str] = ()) -> list[str]:
    """Submit each `jobs/<name>.py` and answer a sentence each; a job that runs already is left alone.

    `flags` as the job's program takes them: `--release-brake`, `--accept-loss`.

    Raises:
        StreamhouseError: no such job, a model that must not be used, the brake holds it, or Flink refused it; others were started.

    """
    outcomes = submit_all(settings, names, flags).values()
    for outcome in outcomes:
        if isinstance(outcome, StreamhouseError):
            raise outcome
    return [str(outcome) for outcome in outcomes]


def submit_all(settings: Settings, names: Sequence[str], flags: Sequence[str] = ()) -> dict[str, str | StreamhouseError]:
    """The same, and for each job its sentence, or why it was not started. One program of Flink's client starts all of them.

    Two that start the same job at a time wait for each other.

    Raises:
        StreamhouseError: no job of such a name; none is started.

    """
    if unknown := [name for name in names if name not in ALL_JOBS]:
        message = f"no job {unknown[0]!r}; expected one of {', '.join(ALL_JOBS)}"
        raise StreamhouseError(message)
    settings.state.mkdir(parents=True, exist_ok=True)
    with ExitStack() as locks:
        for name in sorted(set(names)):  # in one order for all, or two would wait for each other
            locks.enter_context(FileLock(settings.state / f"submit-{name}.lock"))
        outcomes = {name: _without_start(settings, name, flags) for name in dict.fromkeys(names)}
        started = {}
        if left := [name for name, known in outcomes.items() if known is None]:
            done = flink_run(settings, left, flags, _SECONDS)
            started = {name: outcome(settings, name, done) for name in left}
    return {name: known or started[name] for name, known in outcomes.items()}


def _without_start(settings: Settings, name: str, flags: Sequence[str]) -> str | StreamhouseError | None:
    """What there is to say before Flink is asked; None: it is to be started."""
    try:
        if name == SCORER:
            # a model that must not be used is said here, in one sentence, and not by workers that restart
            tried_model.check(settings)
        if running := flink_rest.running(settings, name):
            if "--release-brake" not in flags or name not in brakes.pulled(settings):
                return f"{name} runs already as job {running}"
            _wait_until_stopped(settings, name, running)
        if "--release-brake" not in flags:
            brakes.refuse_while_pulled(settings, name)
    except StreamhouseError as error:
        return error
    return None


def _wait_until_stopped(settings: Settings, name: str, job_id: str) -> None:
    """The keeper stops what the brake holds; a start that releases it comes behind that.

    Raises:
        StreamhouseError: it goes on.

    """
    deadline = time.monotonic() + _STOPPING_SECONDS
    while flink_rest.running(settings, name) == job_id:
        if time.monotonic() > deadline:
            message = f"the brake holds {name}, and job {job_id} still runs; see `./streamhouse logs keeper`"
            raise StreamhouseError(message)
        time.sleep(0.5)


def outcome(settings: Settings, name: str, done: subprocess.CompletedProcess[str]) -> str | StreamhouseError:
    """The sentence about one of the jobs that `flink_run` was to start, or why it did not."""
    all_said = done.stdout + done.stderr
    _, *parts = re.split(r"^starting (\w+)$", all_said, flags=re.MULTILINE)
    said = dict(zip(parts[::2], parts[1::2], strict=True)).get(name, "")
    if found := re.search(rf"^submitted {name} as job ([0-9a-f]{{32}})$", said, re.MULTILINE):
        behind = re.search(r"^goes on behind its outputs: (.+) \(read in", said, re.MULTILINE)
        return f"{name} started as job {found[1]}" + (f": {behind[1]}" if behind else "")
    if refused := re.search(r"^error: (.+)$", said, re.MULTILINE):
        # another start, as by `flink run`, was first
        running = re.match(rf"{name} runs already as job [0-9a-f]{{32}}", refused[1])
        return running[0] if running else StreamhouseError(refused[1])
    log = settings.state / "logs" / f"submit-{name}.log"
    log.write_text(all_said, "utf-8")
    causes = re.findall(r"(?:Caused by|Error|Exception): *(.+)", all_said) or ["no job id in its output"]
    return StreamhouseError(f"Flink refused {name}: {causes[-1][:200]}; everything it said is in {log}")


def flink_run(settings: Settings, names: Sequence[str], flags: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str]:
    """`flink run` of a job's file, or of that for several jobs, as a person would call it, and what came of it.

    Raises:
        subprocess.TimeoutExpired: it took longer than `seconds`.

    """
    where, jobs = f"{settings.flink.host}:{settings.flink.rest_port}", settings.root / "jobs"
    file, words = (jobs / f"{names[0]}.py", ()) if len(names) == 1 else (jobs / "together.py", names)
    python = () if settings.stack.runs_elsewhere else ("-pyclientexec", str(flink_client.PYTHON))
    return subprocess.run(
        [*flink_client.command(settings), "run", "--detached", "-m", where, *python, "-py", str(file), *words, *flags],
        env={**supervise.inherited(os.environ), **settings.environment, **flink_client.environment(settings)},
        cwd=settings.state,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )
