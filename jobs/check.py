"""Every check in the order of its price: style, types, arrows between folders, tests."""

from __future__ import annotations

import subprocess
import time

from infra.config import Settings

_CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    ("lint-imports",),
)


def check(settings: Settings, pytest_arguments: list[str]) -> int:
    """Run them all, the tests alone where arguments name some; answers an exit status. The first failure ends the run."""
    programs = settings.installed / "env" / "bin"
    for command in () if pytest_arguments else _CHECKS:
        started = time.monotonic()
        print(f"== {' '.join(command)}", flush=True)
        if status := subprocess.call([str(programs / command[0]), *command[1:]], cwd=settings.root):
            return status
        print(f"   {time.monotonic() - started:.0f} s", flush=True)
    print("== pytest", flush=True)
    return subprocess.call([str(programs / "python"), "-m", "pytest", *pytest_arguments], cwd=settings.root)
