"""Whether what stands behind the service answers; asked once a second at most, however often it is asked for."""

from __future__ import annotations

import asyncio
import time

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.config import Settings
from jobs.shop.http.bodies import HealthReport, State
from jobs.shop.http.reader import Reader

_ANSWER_SECONDS = 2.0
_KEPT_SECONDS = 1.0
_OWNER = "order"  # the participant, which is its consumer group's name too


class Health:
    """Belongs to one event loop."""

    def __init__(self, settings: Settings, reader: Reader) -> None:
        self._client = AdminClient({**settings.kafka.client(), "log_level": 2})
        self._reader, self._one = reader, asyncio.Lock()
        self._report: HealthReport | None = None
        self._asked = 0.0

    async def report(self) -> HealthReport:
        """How things stand."""
        async with self._one:
            if self._report is None or time.monotonic() - self._asked > _KEPT_SECONDS:
                (broker, owner), read_model = await asyncio.gather(asyncio.to_thread(self._ask), self._reader.is_up())
                self._report = HealthReport(broker, owner, "up" if read_model else "down")
                self._asked = time.monotonic()
            return self._report

    def _ask(self) -> tuple[State, State]:
        try:
            self._client.list_topics(timeout=_ANSWER_SECONDS)
        except KafkaException:
            return "down", "down"
        try:
            group = self._client.describe_consumer_groups([_OWNER], request_timeout=_ANSWER_SECONDS)[_OWNER].result(_ANSWER_SECONDS + 1)
        except (KafkaException, TimeoutError):
            return "up", "down"
        return "up", "up" if group.members else "down"
