"""The event store's reading side over Kafka: a partition's aggregates, or one aggregate, as their events made them.

An event log holds the events of one kind of aggregate, each in the partition of its aggregate's id, in order, and each says the
how-manieth it is. Whatever does not fit that was written by somebody else, and is refused by name rather than folded.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Message, TopicPartition

from infra.config import Settings
from infra.contracts.events import Rejected
from infra.errors import StreamhouseError
from jobs.committed_records import committed_ends, end_offsets, read_to_end
from jobs.patterns import snapshots
from jobs.patterns.aggregate import Aggregate, Folding, Held
from jobs.patterns.message import CAUSATION, VERSION, Envelope, Headers
from jobs.patterns.recorded import Recorded

_OPEN_SECONDS = 30.0
_DIGITS = 19


class EventLogBroken(StreamhouseError):
    """An event log that holds something else than its aggregate's events, in their order."""


def rebuilt(settings: Settings, aggregate: Aggregate, partition: int, *, use_snapshots: bool = True) -> tuple[dict[str, Held], int]:
    """Every aggregate of a partition as its committed events made it, and where the log ends.

    Raises:
        EventLogBroken: an event that does not follow the one before it, or that retention took.
        KafkaException: the broker does not answer.

    """
    found: dict[str, _Strand] = {}
    if use_snapshots:
        found = {
            snapshot.aggregate_id: _Strand(aggregate, snapshot.held, snapshot.aggregate_id)
            for snapshot in snapshots_of(settings, aggregate, partition)
        }
    end = _settled_end(settings, (aggregate.topic, partition))
    for message in _messages(settings, aggregate.topic, partition, OFFSET_BEGINNING):
        key = (message.key() or b"").decode("utf-8", "replace")
        strand = found.get(key)
        if strand is None:
            strand = found[key] = _Strand(aggregate, None)
        if (event := strand.next(message)) is not None:
            strand.folding.add(event.envelope)
    for strand in found.values():
        strand.finish()
    return {key: strand.folding.held for key, strand in found.items()}, end


def _settled_end(settings: Settings, place: tuple[str, int]) -> int:
    """Where a partition ends once no transaction is open in it: up to there committed readers see everything.

    Raises:
        EventLogBroken: somebody keeps one open, behind which committed events may lie that cannot be read yet.

    """
    until = time.monotonic() + _OPEN_SECONDS
    while True:
        end = end_offsets(settings, [place])[place]
        if committed_ends(settings, [place])[place] >= end:
            return end
        if time.monotonic() > until:
            text = f"topic {place[0]}, partition {place[1]}: somebody else keeps a transaction open in it, and its end cannot be read"
            text += "; find who writes there, or wait until the broker ends it"
            raise EventLogBroken(text)
        time.sleep(0.2)


class _Strand:
    """One aggregate's events on their way through the log. Those that a snapshot holds already are counted and passed over."""

    __slots__ = ("_aggregate", "_before", "_causes", "_id", "_seen", "folding")

    def __init__(self, aggregate: Aggregate, held: Held | None, aggregate_id: str = "") -> None:
        self._aggregate, self.folding, self._id = aggregate, Folding(aggregate, held), aggregate_id
        self._before, self._causes = self.folding.version, {} if held is None else held.recent
        self._seen = 0 if held is None else -1  # -1: the log is read from somewhere in the middle

    def next(self, message: Message) -> Recorded | None:
        """The event that follows; None: it is held already.

        Raises:
            EventLogBroken: the record is none of the aggregate's events, or not the next.

        """
        said = version_of(message)
        event = None if said is not None and said <= self._before else read_event(self._aggregate, message)
        if said is None or (said != self._seen + 1 if self._seen >= 0 else said > self._before + 1):
            expected = (self._seen if self._seen >= 0 else self._before) + 1
            text = f"{_where(message)}: expected event {expected} of {self._aggregate.name} {(message.key() or b'')[:80]!r}, got {said}"
            text += "; somebody else wrote into the topic, or retention cut it; the events before it are right"
            raise EventLogBroken(text)
        if event is None and said == self._before:
            cause = dict(headers_of(message)).get(CAUSATION, b"").decode("ascii", "replace")
            if cause and self._causes.get(cause) != said:
                self._refuse(f"its event {said} at {_where(message)} has another cause")
        self._seen = said
        return event

    def finish(self) -> None:
        """The log is read to its end.

        Raises:
            EventLogBroken: a snapshot holds events that the log does not.

        """
        if self._before > max(self._seen, 0):
            self._refuse(f"its log holds {max(self._seen, 0)} events")

    def _refuse(self, why: str) -> None:
        text = f"topic {snapshots.TOPIC}: the snapshot of {self._aggregate.name} {self._id!r} at version {self._before}"
        text += f" is not of its log, for {why}; somebody else wrote it: write a tombstone over it, or raise the aggregate's state_version"
        raise EventLogBroken(text)


def events_of(
    settings: Settings, aggregate: Aggregate, aggregate_id: str, partition: int, offset: int, held: Held | None
) -> Iterator[Recorded]:
    """The committed events of one aggregate from an offset on, behind those that `held` holds; raises as `rebuilt`."""
    key, strand = aggregate_id.encode(), _Strand(aggregate, held, aggregate_id)
    for message in _messages(settings, aggregate.topic, partition, offset):
        if message.key() == key and (event := strand.next(message)) is not None:
            yield event
    strand.finish()


def snapshots_of(settings: Settings, aggregate: Aggregate, partition: int) -> Iterator[snapshots.Snapshot]:
    """The snapshots of a partition's aggregates that can be used, older ones of the same aggregate first."""
    for message in _messages(settings, snapshots.TOPIC, partition, OFFSET_BEGINNING):
        snapshot = snapshots.read_snapshot(aggregate, message.value())
        if snapshot is not None:
            yield snapshot


def read_event(aggregate: Aggregate, message: Message) -> Recorded:
    """One record of an event log.

    Raises:
        EventLogBroken: it is no event of this kind of aggregate.

    """
    read = aggregate.codec.decode(message.value(), headers_of(message))
    if isinstance(read, Rejected):
        text = f"{_where(message)}: expected an event of {aggregate.name}, got {read.message}"
        text += "; only the owner of the partition may write there"
        raise EventLogBroken(text)
    if read.data.aggregate_id.encode() != message.key():
        text = f"{_where(message)}: expected key {read.data.aggregate_id!r} as in the event, got {message.key()!r}"
        text += "; only the owner of the partition may write there"
        raise EventLogBroken(text)
    return recorded(read, message)


def recorded(envelope: Envelope, message: Message) -> Recorded:
    """A message with its place."""
    return Recorded(envelope, message.topic() or "", int(message.partition() or 0), int(message.offset() or 0), message.timestamp()[1])


def headers_of(message: Message) -> Headers:
    """A record's headers that hold something."""
    headers: Any = message.headers() or ()
    return [(name, value) for name, value in headers if isinstance(value, bytes)]


def version_of(message: Message) -> int | None:
    """The how-manieth event of its aggregate a record says that it is."""
    header = dict(headers_of(message)).get(VERSION)
    return int(header) if header and header.isdigit() and len(header) <= _DIGITS else None


def _messages(settings: Settings, topic: str, partition: int, offset: int) -> Iterator[Message]:
    for batch in read_to_end(settings, [TopicPartition(topic, partition, offset)]):
        yield from batch


def _where(message: Message) -> str:
    return f"topic {message.topic()}, partition {message.partition()}, offset {message.offset()}"
