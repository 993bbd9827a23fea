"""Start one of Flink's services in place of this process: its pid is the one that the supervisor knows.

    python -m infra.stack.flink_process taskmanager

Flink's scripts start three Java programs to work out one command. That command is kept, so that a service that died is back seconds
sooner; it is worked out anew when what it was made from changes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from infra.config import Settings, load_settings
from infra.errors import StreamhouseError
from infra.stack import flink_rest, supervise
from infra.stack.services import TASKMANAGERS, flink_environment, flink_home

NAMES = ("jobmanager", *TASKMANAGERS)
_WAITS_SECONDS, _LOOK_SECONDS = 10.0, 0.5
# what the scripts export beside what they are given: Flink's logging reads the first two, its Python side the third
_EXPORTED = ("MAX_LOG_FILE_NUMBER", "ROOT_LOG_LEVEL", "FLINK_BIN_DIR")


def main() -> None:
    """Become the service, once what a killed one left behind is gone.

    Python workers would hold 300 MB each, and write until the fence of the store stops them. Temporary files would be 60 MB each time,
    the broker's password among them; and a TaskManager reads all jars of jobs that it finds there before it answers.
    """
    name, settings = sys.argv[1], load_settings()
    kept, temporary = _kept(settings, name), settings.state / "flink" / "tmp" / name
    if name in TASKMANAGERS:
        supervise.end(supervise.orphans(settings), 0)
        if kept:
            _let_the_other_recover(settings)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True, exist_ok=True)
    if kept:
        command, exported = kept
        os.execve(command[0], command, {**os.environ, **exported})
    own = ["-D", f"io.tmp.dirs={temporary}"]
    if name in TASKMANAGERS:
        own += ["-D", f"taskmanager.resource-id={name}"]
    program = str(flink_home() / "bin" / ("taskmanager.sh" if name in TASKMANAGERS else "jobmanager.sh"))
    os.execv(program, [program, "start-foreground", *own])


def _let_the_other_recover(settings: Settings) -> None:
    """Wait while the other TaskManager takes over what this one did when it died: a Java that starts would take a core from it.

    But not longer than that takes: until this one is there, nobody takes over when the other dies.
    """
    began = time.monotonic()
    while (waited := time.monotonic() - began) < _WAITS_SECONDS and _another_runs(settings) and not _has_recovered(settings, waited):
        time.sleep(_LOOK_SECONDS)


def _another_runs(settings: Settings) -> bool:
    """Whether the other TaskManager is a Java already, also one that does not answer yet: what starts takes over first."""
    others = [state.pid for state in supervise.states(settings) if state.name in TASKMANAGERS and state.name != sys.argv[1]]
    with suppress(psutil.NoSuchProcess):
        return any(psutil.Process(pid).name() == "java" for pid in others if pid)
    return False


def _has_recovered(settings: Settings, seconds: float) -> bool:
    """Whether each job that runs has completed a checkpoint in the last so many seconds."""
    try:
        running = [job for job in flink_rest.jobs(settings, details=True) if job.state == "RUNNING" and job.takes_checkpoints]
    except StreamhouseError:
        return False
    return bool(running) and all(job.checkpoint_age is not None and job.checkpoint_age < seconds for job in running)


def keep_command(settings: Settings, name: str, pid: int) -> None:
    """Remember the command of a service that answers, as Flink's scripts made it."""
    try:
        process = psutil.Process(pid)
        command, environment = process.cmdline(), process.environ()
    except psutil.Error:  # it died this moment; the next start works it out
        return
    if not command or Path(command[0]).name != "java":
        return
    exported = {variable: environment[variable] for variable in _EXPORTED if variable in environment}
    file = _file(settings, name)
    file.write_text(json.dumps({"made_from": _made_from(settings), "command": command, "exported": exported}), "utf-8")


def _kept(settings: Settings, name: str) -> tuple[list[str], dict[str, str]] | None:
    try:
        held = json.loads(_file(settings, name).read_text("utf-8"))
        return (held["command"], held["exported"]) if held["made_from"] == _made_from(settings) else None
    except (OSError, ValueError, KeyError):
        return None


def _made_from(settings: Settings) -> str:
    """A digest of all that the scripts read: configuration, environment, the jars on the class path."""
    read = [(settings.state / "flink" / "conf" / "config.yaml").read_text("utf-8"), json.dumps(flink_environment(settings), sort_keys=True)]
    read += sorted(str(jar.resolve()) for jar in (settings.state / "flink" / "lib").iterdir())
    return hashlib.sha256("\n".join(read).encode()).hexdigest()


def _file(settings: Settings, name: str) -> Path:
    return settings.state / "flink" / f"{name}.command.json"


if __name__ == "__main__":
    main()
