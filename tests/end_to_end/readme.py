"""The README's section of the five uses: its commands, run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess

from infra.config import ROOT, Settings

SECTION = (ROOT / "README.md").read_text("utf-8").split("\n## Five ways to use it\n")[1].split("\n## ")[0]


def shown(start: str, **values: str) -> str:
    """The one command of the README's section that starts so, with values in the place of its words in capitals."""
    lines = [line.removeprefix("    ") for line in SECTION.splitlines() if line.startswith(f"    {start}")]
    assert len(lines) == 1, f"{start!r} stands {len(lines)} times in the README's section"
    command = re.sub(r"\s{2,}#.*", "", lines[0])
    for word, value in values.items():
        assert word in command
        command = command.replace(word, value)
    return command


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """That of a user's shell who works with the tests' stack."""
    return {**os.environ, **settings.environment, **more}


def said(settings: Settings, *commands: str, status: int = 0, **more: str) -> str:
    """What commands print, given to one shell that starts in the repository."""
    script = "set -e\n" + "\n".join(commands)
    done = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, env=environment(settings, **more), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == status, f"{commands} ended with {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout if status == 0 else done.stdout + done.stderr
