"""What a service of ours does again and again beside its other duties, while its heart goes on beating."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from confluent_kafka import KafkaException

from infra.errors import StreamhouseError

log = logging.getLogger("duty")

FAULTS = (StreamhouseError, KafkaException, OSError)
"""A service that is away: asked again at the next look."""


@dataclass
class Duty:
    """Something that is done every so many seconds, never twice at once. What it raises is one line in the log, said once in a row."""

    every: float
    do: Callable[[], None]
    due: float = 0.0
    under_way: Future[None] | None = None
    said: str = ""

    def look(self, pool: ThreadPoolExecutor, now: float) -> None:
        """Begin it when it is due and not under way."""
        if self.under_way is not None and self.under_way.done():
            error = self.under_way.exception()
            self.under_way = None
            if error is not None and str(error) != self.said:
                log.warning("%s", error, exc_info=None if isinstance(error, FAULTS) else error)
            self.said = "" if error is None else str(error)
        if self.under_way is None and now >= self.due:
            self.due, self.under_way = now + self.every, pool.submit(self.do)
