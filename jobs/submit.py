"""Start a Flink job on the local cluster, from its newest savepoint or retained checkpoint."""

from __future__ import annotations

import os
import re
import subprocess

from filelock import FileLock

from infra.config import Settings
from infra.errors import StreamhouseError
from infra.stack import flink_rest, supervise
from infra.stack.services import flink_environment, flink_home
from models.manifest import published
from models.scorer import load_scorer

SCORER = "score_events"
JOBS = (SCORER, "archive_topics")


def submit(settings: Settings, name: str) -> str:
    """Submit `jobs/<name>.py` and answer a sentence; a job that runs already is left alone. Two at a time wait for each other.

    Raises:
        StreamhouseError: no such job, a model that cannot be loaded, or Flink refused it.

    """
    if name not in JOBS:
        message = f"no job {name!r}; expected one of {', '.join(JOBS)}"
        raise StreamhouseError(message)
    if name == SCORER:
        # a model that cannot be loaded is said here, in one sentence, and not by workers that restart
        load_scorer(published(settings.root / "models" / "published", settings.score_events.model))
    settings.state.mkdir(parents=True, exist_ok=True)
    with FileLock(settings.state / f"submit-{name}.lock"):
        return _submit(settings, name)


def _submit(settings: Settings, name: str) -> str:
    if running := flink_rest.alive(settings, name):
        return f"{name} runs already as job {running.id}"
    origin = flink_rest.restorable(settings, name)
    command = [
        str(flink_home() / "bin" / "flink"),
        "run",
        "--detached",
        "-m",
        f"{settings.flink.host}:{settings.flink.rest_port}",
    ]
    if origin is not None:
        command += ["-s", f"file://{origin}"]
    command += ["-py", str(settings.root / "jobs" / f"{name}.py")]
    done = subprocess.run(
        command,
        env={**supervise.inherited(os.environ), **settings.environment, **flink_environment(settings)},
        cwd=settings.state,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    found = re.search(r"JobID ([0-9a-f]{32})", done.stdout)
    if done.returncode or not found:
        log = settings.state / "logs" / f"submit-{name}.log"
        log.write_text(done.stdout + done.stderr, "utf-8")
        causes = re.findall(r"(?:Caused by|Error|Exception): *(.+)", done.stderr + done.stdout) or ["no job id in its output"]
        message = f"Flink refused {name}: {causes[-1][:200]}; everything it said is in {log}"
        raise StreamhouseError(message)
    flink_rest.note_started(settings, name, found[1])
    return f"{name} started as job {found[1]}" + (f" from {origin.name}" if origin else "")
