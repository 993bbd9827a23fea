"""Start a Flink job on the local cluster; from where it goes on is decided in its own program (jobs.begin)."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence

from filelock import FileLock

from infra.config import Settings
from infra.errors import StreamhouseError
from infra.stack import brakes, flink_rest, supervise
from infra.stack.services import flink_environment, flink_home
from models.manifest import published
from models.scorer import load_scorer

SCORER = "score_events"
JOBS = (SCORER, "archive_topics")
_SECONDS = 600  # it may have to wait for another start, and then to read all outputs


def submit(settings: Settings, name: str, flags: Sequence[str] = ()) -> str:
    """Submit `jobs/<name>.py` and answer a sentence; a job that runs already is left alone. Two at a time wait for each other.

    `flags` as the job's program takes them: `--release-brake`, `--accept-loss`.

    Raises:
        StreamhouseError: no such job, a model that cannot be loaded, the brake holds it, or Flink refused it.

    """
    if name not in JOBS:
        message = f"no job {name!r}; expected one of {', '.join(JOBS)}"
        raise StreamhouseError(message)
    if name == SCORER:
        # a model that cannot be loaded is said here, in one sentence, and not by workers that restart
        load_scorer(published(settings.root / "models" / "published", settings.score_events.model))
    settings.state.mkdir(parents=True, exist_ok=True)
    with FileLock(settings.state / f"submit-{name}.lock"):
        return _submit(settings, name, flags)


def _submit(settings: Settings, name: str, flags: Sequence[str]) -> str:
    if running := flink_rest.running(settings, name):
        return f"{name} runs already as job {running}"
    if "--release-brake" not in flags:
        brakes.refuse_while_pulled(settings, name)
    done = flink_run(settings, name, flags, _SECONDS)
    said = done.stdout + done.stderr
    found = re.search(r"JobID ([0-9a-f]{32})", done.stdout)
    if done.returncode or not found:
        if refused := re.search(r"^error: (.+)$", said, re.MULTILINE):
            raise StreamhouseError(refused[1])
        log = settings.state / "logs" / f"submit-{name}.log"
        log.write_text(said, "utf-8")
        causes = re.findall(r"(?:Caused by|Error|Exception): *(.+)", done.stderr + done.stdout) or ["no job id in its output"]
        message = f"Flink refused {name}: {causes[-1][:200]}; everything it said is in {log}"
        raise StreamhouseError(message)
    behind = re.search(r"^goes on behind its outputs: (.+) \(read in", said, re.MULTILINE)
    return f"{name} started as job {found[1]}" + (f": {behind[1]}" if behind else "")


def flink_run(settings: Settings, name: str, flags: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str]:
    """`flink run` of `jobs/<name>.py`, as a person would call it, and what came of it.

    Raises:
        subprocess.TimeoutExpired: it took longer than `seconds`.

    """
    where = f"{settings.flink.host}:{settings.flink.rest_port}"
    program, job = str(flink_home() / "bin" / "flink"), str(settings.root / "jobs" / f"{name}.py")
    return subprocess.run(
        [program, "run", "--detached", "-m", where, "-py", job, *flags],
        env={**supervise.inherited(os.environ), **settings.environment, **flink_environment(settings)},
        cwd=settings.state,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )
