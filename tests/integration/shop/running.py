"""Programs of the shop as real processes, that end with the test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from infra.config import ROOT, Settings

_SECONDS = 180


@dataclass
class Programs:
    """What was started. Each one's output lies in a file of `folder`."""

    settings: Settings
    folder: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Run `python -m MODULE ARGUMENTS`."""
        with (self.folder / f"{module}-{len(self.started)}.log").open("wb") as log:
            command = [sys.executable, "-m", module, *arguments]
            environment = {**os.environ, **self.settings.environment}
            self.started.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log))
        return self.started[-1]


@contextmanager
def programs(settings: Settings, folder: Path) -> Iterator[Programs]:
    """What still runs at the end is killed; what it said is shown where a test failed."""
    running = Programs(settings, folder)
    try:
        yield running
    finally:
        for process in running.started:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(120)
        for file in sorted(folder.glob("*.log")):
            print(f"== {file.name}", file.read_text("utf-8", "replace")[-3000:], sep="\n")


def until(holds: Callable[[], bool], seconds: float = _SECONDS) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to hold in time"
        time.sleep(0.05)


def answers(client: httpx.Client, path: str, status: int) -> bool:
    """Whether a service is there and gives this answer."""
    try:
        return client.get(path).status_code == status
    except httpx.TransportError:
        return False
