"""A broker whose topics are empty before each test, and processes of participants that end with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.config import ROOT, Settings
from tests.brokers import empty_topics


@pytest.fixture
def topics(broker: Settings) -> Settings:
    """The broker's settings, its topics empty."""
    empty_topics(broker)
    return broker


Serve = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def serve(program: Serve) -> Serve:
    """Starts `python -m jobs.serve NAME [INSTANCE]`."""

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        return program("jobs.serve", *arguments)

    return start


@pytest.fixture
def program(topics: Settings, tmp_path: Path) -> Iterator[Serve]:
    """Starts `python -m MODULE ...`; what still runs at the end is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        with (tmp_path / f"{'-'.join(arguments)}-{len(started)}.log").open("wb") as log:
            environment = {**os.environ, **topics.environment}
            process = subprocess.Popen([sys.executable, "-m", *arguments], cwd=ROOT, env=environment, stdout=log, stderr=log)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait(120)
    for file in sorted(tmp_path.glob("*.log")):
        print(f"== {file.name}", file.read_text("utf-8", "replace")[-3000:], sep="\n")
