"""A service that only listens: a consumer group of its own, committed records in batches, offsets that follow what was handled.

Each group has its own pace. A batch is handled first and committed then, so after a fault it comes again: a listener that must not act
twice keeps what it has done beside what it did, and says from where it needs to hear.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as Record
from sqlalchemy.exc import DBAPIError

from infra.config import Settings
from infra.contracts.events import Rejected
from infra.errors import StreamhouseError
from jobs.committed_records import end_offsets, first_offsets
from jobs.patterns.event_log import headers_of, recorded
from jobs.patterns.message import Codec, Message
from jobs.patterns.patience import why
from jobs.patterns.recorded import Recorded

log = logging.getLogger("subscriber")

_BATCH = 500
_POLL_SECONDS = 0.2
_FILL_SECONDS = 0.005
_ANSWER_SECONDS = 15.0
_LONGEST_PAUSE = 10.0
Place = tuple[str, int]


@dataclass(frozen=True)
class Batch:
    """What was read at once. `events`: those of the types that the listener hears, in order within each partition.

    `before`, `after`: by place, the offset that was to be read next before the batch and behind it, other records included.
    """

    events: tuple[Recorded, ...]
    before: Mapping[Place, int]
    after: Mapping[Place, int]


class Listener(Protocol):
    """What a service does with events."""

    def begin(self, held: Mapping[Place, tuple[int, int]]) -> Mapping[Place, int]:
        """These partitions are this process's now, each with the offset at which it begins and that behind its last record.

        Answers from where it needs to hear, where that may lie before its group's offset.

        Raises:
            StreamhouseError: records that it needs to hear are gone, or it has heard more than there is.

        """

    def handle(self, batch: Batch) -> None:
        """Take events. When this raises an exception, all of them come again, later and later; StreamhouseError ends the service."""


class Subscriber:
    """One process of a group. Processes of the same group share the partitions of the topics on which the types lie."""

    def __init__(
        self,
        settings: Settings,
        group: str,
        types: Sequence[type[Message]],
        listener: Listener,
        *,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings, self._group, self._listener, self._beat = settings, group, listener, beat
        self._topics, self._codec = sorted({kind.topic for kind in types}), Codec(types)
        self._positions: dict[Place, int] = {}
        self._committed: dict[Place, int] = {}
        self._fault: BaseException | None = None
        self._failed = 0

    def run(self, stop: threading.Event) -> None:
        """Listen until `stop`, which ends behind the batch that is under way. Faults are waited out, longer each time up to 10 s.

        Raises:
            StreamhouseError: retention took what was not read, or the listener cannot go on: a person must decide.

        """
        while not stop.is_set():
            consumer = self._consumer()
            try:
                consumer.subscribe(self._topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)
                while not stop.is_set():
                    self._step(consumer)
            except StreamhouseError:
                raise
            except Exception as error:
                known = isinstance(error, KafkaException | DBAPIError)
                log.warning("%s begins anew: %s", self._group, why(error) if known else repr(error), exc_info=not known)
                self._failed += 1
                stop.wait(min(_LONGEST_PAUSE, 0.1 * 2 ** min(self._failed, 10)))
            finally:
                self._fault = None
                consumer.close()
                self._positions.clear()

    def _consumer(self) -> Consumer:
        return Consumer(
            {
                **self._settings.kafka.client(),
                "group.id": self._group,
                "client.id": self._group,
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": True,  # behind the last record may lie the broker's own marks, and they count as lag
                "partition.assignment.strategy": "range",
                "session.timeout.ms": 6_000,
                "heartbeat.interval.ms": 1_500,
                "fetch.wait.max.ms": 100,
                "error_cb": lambda error: log.info("%s", error.str()),
                "log_level": 2,
            }
        )

    def _step(self, consumer: Consumer) -> None:
        messages = consumer.consume(1, _POLL_SECONDS)
        if messages and messages[0].error() is None:
            messages += consumer.consume(_BATCH - 1, _FILL_SECONDS)
        if self._fault is not None:
            raise self._fault
        before, after, events = dict(self._positions), dict(self._positions), list[Recorded]()
        for message in messages:
            place, offset, error = (message.topic() or "", message.partition() or 0), message.offset() or 0, message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                raise self._as_fault(error, place)
            if offset < after.get(place, offset + 1):  # also what came before a rebalance
                continue
            after[place] = offset + (error is None)
            if error is None and (event := self._read(message)) is not None:
                events.append(event)
        if events:
            self._listener.handle(Batch(tuple(events), before, after))
        if after != self._committed:
            offsets = [TopicPartition(*place, offset) for place, offset in after.items() if self._committed.get(place) != offset]
            consumer.commit(offsets=offsets, asynchronous=False)
            if self._positions.keys() == after.keys():  # else the commit brought a rebalance
                self._positions, self._committed = after, dict(after)
            self._failed = 0
        self._beat()

    def _read(self, message: Record) -> Recorded | None:
        read = self._codec.decode(message.value(), headers_of(message))
        if not isinstance(read, Rejected):
            return recorded(read, message)
        if read.reason != "unknown_event_type":
            where = (self._group, message.offset(), message.partition(), message.topic(), read.message)
            log.warning("%s passes offset %s of partition %s of %s: %s", *where)
        return None

    def _assigned(self, consumer: Consumer, given: list[TopicPartition]) -> None:
        try:
            answer = consumer.committed(given, timeout=_ANSWER_SECONDS)
            committed = {(place.topic, place.partition): place.offset for place in answer if place.offset >= 0}
            places = [(place.topic, place.partition) for place in given]
            first, ends = first_offsets(self._settings, places), end_offsets(self._settings, places)
            starts = {**first, **committed}
            for place, needed in self._listener.begin({place: (first[place], ends[place]) for place in places}).items():
                starts[place] = min(starts[place], needed)
            self._positions, self._committed = starts, committed
            consumer.assign([TopicPartition(*place, offset) for place, offset in starts.items()])
            log.info("%s reads %d partitions", self._group, len(places))
        except BaseException as error:  # raised where it can be handled, out of the client's callback
            self._fault = error

    def _revoked(self, _: Consumer, __: list[TopicPartition]) -> None:
        self._positions, self._committed = {}, {}

    def _as_fault(self, error: KafkaError, place: Place) -> Exception:
        if error.code() != KafkaError._AUTO_OFFSET_RESET:
            return KafkaException(error)
        text = f"{place[0]}, partition {place[1]}: {error.str()}: retention took records before {self._group} had read them; say from where"
        return StreamhouseError(f"{text} it goes on: ./streamhouse groups reset {self._group} --topic {place[0]} --to beginning")
