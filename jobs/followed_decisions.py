"""Decisions about schema ids for who reads records that a worker may not have answered yet: it waits for the worker, or says so."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

from confluent_kafka import OFFSET_BEGINNING

from infra.config import Settings
from infra.contracts.decisions import NOTHING, Schemas
from infra.contracts.framing import WriterSchema, unframe
from infra.errors import StreamhouseError
from infra.stack import health
from jobs.asking import asking
from jobs.framed_records import readable_at
from jobs.records import Records
from jobs.schema_history import decisions_in_table, read_on

_LOOK = 0.1  # seconds between two looks at the topic, of who waits
_GLANCE = 1.0  # and of who has waited in vain
_SCORER_SECONDS = 30.0  # how long a command waits for a worker that may be behind

Place = tuple[int, int]
"""A partition and an offset."""


class UndecidedError(StreamhouseError):
    """A worker has yet to decide about a framed record."""


class FollowedDecisions:
    """What is on record about the records of `topic`, read again while it does not cover them.

    `answered` tells for a partition up to which offset records are answered: one that is and that nobody decided about was refused,
    before there were decisions. It waits `wait_seconds` for the worker, and having waited in vain, not again before the worker decides
    something, or ten times as long have passed.
    """

    def __init__(
        self,
        settings: Settings,
        topic: str,
        wait_seconds: float,
        answered: Callable[[int], int] = lambda _: 0,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._topic, self._wait, self._answered = settings, topic, wait_seconds, answered
        self._sleep, self._monotonic = sleep, monotonic
        self._decisions, self._read = NOTHING, OFFSET_BEGINNING
        self._patient_from = self._glance_from = 0.0
        self._passed: dict[int, int] = {}  # by partition, up to where the records were answered before the decisions were read

    def expect(self, records: Records) -> None:
        """As `settled`, where nothing goes on without.

        Raises:
            UndecidedError: not within the time.
            KafkaException: the broker does not answer.

        """
        if not self.settled(list(zip(records.partition.tolist(), records.offset.tolist(), strict=True)), records.values):
            raise self._undecided()

    def settled(self, places: Sequence[Place], values: Sequence[bytes | None]) -> bool:
        """Wait until all framed ones among these records are decided; False: not within the time.

        Raises:
            KafkaException: the broker does not answer.

        """
        framed = [(*place, parts.schema_id) for place, value in zip(places, values, strict=True) if (parts := unframe(value)) is not None]
        return self._settled(framed)

    def schema_at(self, topic: str, partition: int, offset: int, schema_id: int) -> WriterSchema | None:
        """What was on record when it was last read; None: the id was not known, or is not decided."""
        return self._decisions.schema_at(topic, partition, offset, schema_id)

    def plain(self, places: Sequence[Place], values: Sequence[bytes | None]) -> list[bytes | None]:
        """Framed values as plain JSON; None for one whose id is unknown or not decided within the time, or that cannot be decoded.

        Raises:
            KafkaException: the broker does not answer.

        """
        self.settled(places, values)
        return [readable_at(self, self._topic, *place, value) for place, value in zip(places, values, strict=True)]

    def _settled(self, framed: Sequence[tuple[int, int, int]]) -> bool:
        waits_until = self._monotonic() + self._wait
        while waiting := {one[0] for one in framed if self._is_open(*one)}:
            if self._monotonic() < min(self._glance_from, self._patient_from):
                return False
            if self._look(waiting):
                self._patient_from = 0.0
            if not any(self._is_open(*one) for one in framed):
                break
            now = self._monotonic()
            self._glance_from = now + _GLANCE
            if now < self._patient_from:
                return False
            if now >= waits_until:
                self._patient_from = now + 10 * self._wait
                return False
            self._sleep(_LOOK)
        return True

    def _look(self, partitions: Collection[int]) -> bool:
        """Read what was decided since the last look; whether there was anything."""
        answered = {partition: self._answered(partition) for partition in partitions}  # before the decisions that they rest on
        before = self._decisions
        self._decisions, self._read = read_on(self._settings, before, self._read)
        self._passed |= answered
        return self._decisions is not before

    def _is_open(self, partition: int, offset: int, schema_id: int) -> bool:
        is_decided = self._decisions.is_decided(self._topic, partition, offset, schema_id)
        return not is_decided and offset >= self._passed.get(partition, 0)

    def _undecided(self) -> UndecidedError:
        return UndecidedError(
            f"topic {self._topic}: score_events has yet to decide about the schema ids of framed records; see that it runs"
            " (`./streamhouse status`), and try again"
        )


class _OnceDecided(FollowedDecisions):
    def schema_at(self, topic: str, partition: int, offset: int, schema_id: int) -> WriterSchema | None:
        with asking("what was decided about schema ids"):
            is_settled = self._settled([(partition, offset, schema_id)])
        if not is_settled:
            raise self._undecided()
        return super().schema_at(topic, partition, offset, schema_id)


def once_decided(settings: Settings, topic: str, answered: Callable[[int], int]) -> Schemas:
    """For who writes down what was accepted: asked about a record that may yet be accepted, it raises. Without a broker, the archive's."""
    if not health.answers(settings, "broker"):
        return decisions_in_table(settings)
    return _OnceDecided(settings, topic, _SCORER_SECONDS, answered)
