"""A `./streamhouse dlq` in a process of its own, which can be killed at any moment, and stopped right before or after a commit."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Iterator
from multiprocessing import connection
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from infra.config import Settings

_CONTEXT = multiprocessing.get_context("forkserver")
_COMMANDS = ["jobs.cli", "jobs.dlq.report", "jobs.dlq.replay", "typer._adapters", "rich.progress", "rich.status"]
# PyIceberg for what only the archive holds, and a module that has read the contracts
_CONTEXT.set_forkserver_preload([*_COMMANDS, "jobs.archived_log", "jobs.answered"])
_SECONDS = 180
BATCH = 5
"""How many letters one transaction holds in such a process."""


class Replaying:
    """The process. `stop` names a moment, `produced` or `committed`, at which its first transaction waits for `go_on`."""

    def __init__(self, settings: Settings, output: Path, *arguments: str, stop: str | None = None) -> None:
        self._output, (self._ours, theirs) = output, _CONTEXT.Pipe()
        environment = {**os.environ, **settings.environment}
        self._process = _CONTEXT.Process(target=_run, args=(environment, list(arguments), str(output), stop, theirs))
        self._process.start()
        theirs.close()

    def stopped(self) -> bool:
        """Whether it waits at its moment; else it ended before."""
        assert connection.wait([self._ours, self._process.sentinel], _SECONDS), self.said()
        try:
            return self._ours.poll() and self._ours.recv() == "stopped"
        except EOFError:
            return False

    def go_on(self) -> None:
        self._ours.send("go on")

    def kill(self) -> None:
        self._process.kill()  # not by os.kill: one that ends this moment may be gone before it counts as ended
        self._process.join(_SECONDS)

    def ended(self) -> int:
        """Its exit status, once it has ended."""
        self._process.join(_SECONDS)
        assert self._process.exitcode is not None, self.said()
        return self._process.exitcode

    def said(self) -> str:
        return self._output.read_text("utf-8") if self._output.exists() else ""


@contextlib.contextmanager
def replaying(settings: Settings, output: Path, *arguments: str, stop: str | None = None) -> Iterator[Replaying]:
    """Started; killed at the latest with the block."""
    process = Replaying(settings, output, *arguments, stop=stop)
    try:
        yield process
    finally:
        process.kill()


def dlq(settings: Settings, output: Path, *arguments: str) -> str:
    """Run to its end, which must be a good one; answers what it said."""
    with replaying(settings, output, *arguments) as process:
        assert process.ended() == 0, process.said()
        return process.said()


def _run(environment: dict[str, str], arguments: list[str], output: str, stop: str | None, pipe: Connection) -> None:
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.clear()
    os.environ.update(environment)
    from jobs import cli
    from jobs.dlq import replay, transactions

    class Stopping(Producer):
        stops = [stop] if stop else []

        def commit_transaction(self, *arguments: Any) -> None:
            self._wait_at("produced")
            super().commit_transaction(*arguments)
            self._wait_at("committed")

        def _wait_at(self, moment: str) -> None:
            if moment in self.stops:
                self.stops.remove(moment)
                pipe.send("stopped")
                pipe.recv()

    replay.BATCH_RECORDS = BATCH
    vars(transactions)["Producer"] = Stopping
    import sys

    sys.argv = ["streamhouse", "dlq", *arguments]
    cli.main()
