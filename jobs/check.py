"""Every check in the order of its price: style, types, arrows between folders, tests."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from infra.config import Settings
from jobs import interrupts

_CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    ("lint-imports",),
)
# one process takes all that needs a whole stack, the other file by file in their order
_AT_A_TIME = ("--numprocesses", "2", "--dist", "loadfile", "--no-loadscope-reorder")


def check(settings: Settings, pytest_arguments: list[str]) -> int:
    """Run them all, the tests alone where arguments name some; answers an exit status. The first failure ends the run."""
    programs = settings.installed / "env" / "bin"
    for command in () if pytest_arguments else _CHECKS:
        started = time.monotonic()
        print(f"== {' '.join(command)}", flush=True)
        if status := called(settings, [str(programs / command[0]), *command[1:]]):
            return status
        print(f"   {time.monotonic() - started:.0f} s", flush=True)
    print("== pytest", flush=True)
    return called(settings, [str(programs / "python"), "-m", "pytest", *(pytest_arguments or _AT_A_TIME)])


def called(settings: Settings, command: Sequence[str], folder: Path | None = None) -> int:
    """The exit status of a program, run in the folder or at the root; an interrupted one is waited for, since it ends what it started."""
    with subprocess.Popen(command, cwd=folder or settings.root) as program:
        while True:
            try:
                return program.wait()
            except KeyboardInterrupt:
                if interrupts.came[-1:] == [signal.SIGTERM]:  # a terminal's Ctrl-C reaches them too
                    with contextlib.suppress(psutil.NoSuchProcess):
                        first = psutil.Process(program.pid)
                        for process in (*first.children(), first):  # the processes that share the tests end what each started
                            process.send_signal(signal.SIGINT)
