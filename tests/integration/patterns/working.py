"""A participant at work in a thread, for tests that give it code of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from infra.clock import system_clock
from infra.config import Settings
from jobs.patterns.host import Host
from jobs.patterns.participant import Participant


@contextmanager
def working(settings: Settings, participant: Participant, pause: float = 0.0) -> Iterator[list[BaseException]]:
    """It works inside the block, and pauses for so many seconds between two batches; what ended it is in the list."""
    stop, ended = threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            Host(settings, participant, system_clock, beat=lambda: time.sleep(pause)).run(stop)
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield ended
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()
