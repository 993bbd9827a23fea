"""The event store's reading side over Kafka: a partition's aggregates, or one aggregate, as their events made them.

An event log holds the events of one kind of aggregate, each in the partition of its aggregate's id, in order, and each says the
how-manieth it is. Whatever does not fit that was written by somebody else, and is refused by name rather than folded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Message, TopicPartition

from infra.config import Settings
from infra.contracts.events import Rejected
from infra.errors import StreamhouseError
from jobs.committed_records import end_offsets, read_to_end
from jobs.patterns import snapshots
from jobs.patterns.aggregate import Aggregate, Folding, Held
from jobs.patterns.message import VERSION, Envelope, Headers
from jobs.patterns.recorded import Recorded


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
        found = {snapshot.aggregate_id: _Strand(aggregate, snapshot.held) for snapshot in snapshots_of(settings, aggregate, partition)}
    place = (aggregate.topic, partition)
    end = end_offsets(settings, [place])[place]
    for message in _messages(settings, aggregate.topic, partition, OFFSET_BEGINNING):
        key = (message.key() or b"").decode("utf-8", "replace")
        strand = found.get(key)
        if strand is None:
            strand = found[key] = _Strand(aggregate, None)
        if (event := strand.next(message)) is not None:
            strand.folding.add(event.envelope)
    return {key: strand.folding.held for key, strand in found.items()}, end


class _Strand:
    """One aggregate's events on their way through the log. Those that a snapshot holds already are counted and passed over."""

    __slots__ = ("_aggregate", "_before", "_seen", "folding")

    def __init__(self, aggregate: Aggregate, held: Held | None) -> None:
        self._aggregate, self.folding = aggregate, Folding(aggregate, held)
        self._before = self.folding.version
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
            text += "; somebody else wrote into the topic, or retention cut it"
            raise EventLogBroken(text)
        self._seen = said
        return event


def events_of(
    settings: Settings, aggregate: Aggregate, aggregate_id: str, partition: int, offset: int, held: Held | None
) -> Iterator[Recorded]:
    """The committed events of one aggregate from an offset on, behind those that `held` holds; raises as `rebuilt`."""
    key, strand = aggregate_id.encode(), _Strand(aggregate, held)
    for message in _messages(settings, aggregate.topic, partition, offset):
        if message.key() == key and (event := strand.next(message)) is not None:
            yield event


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
    return int(header) if header and header.isdigit() else None


def _messages(settings: Settings, topic: str, partition: int, offset: int) -> Iterator[Message]:
    for batch in read_to_end(settings, [TopicPartition(topic, partition, offset)]):
        yield from batch


def _where(message: Message) -> str:
    return f"topic {message.topic()}, partition {message.partition()}, offset {message.offset()}"
