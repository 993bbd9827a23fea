"""The latest records of partitions, each as a note of a few words: read once, and then only what came since."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from infra.config import Settings
from infra.contracts.codec import DEPTH, nests_deeper
from infra.contracts.framing import payload

_BATCH = 100  # a value may be a megabyte
_PREFETCHED = 16 << 10  # KiB that wait in the client, 64 MiB by default
_LONGEST_NAME = 200
Place = tuple[str, int]


class _Event(msgspec.Struct, rename="camel"):
    event_type: str = ""
    version: int = 0


class _Error(msgspec.Struct):
    step: str = ""
    reason: str = ""


class _Data(msgspec.Struct):
    error: _Error = msgspec.field(default_factory=_Error)


class _Letter(msgspec.Struct):
    data: _Data = msgspec.field(default_factory=_Data)


_event, _letter = msgspec.json.Decoder(_Event), msgspec.json.Decoder(_Letter)


@dataclass(frozen=True)
class Note:
    """One record, written at `at_ms` since 1970. `event`: the type and version that it says; `reason`: of a dead letter."""

    offset: int
    at_ms: int
    event: tuple[str, int] | None
    reason: str | None


@dataclass(frozen=True)
class Span:
    """Offsets of a partition, from `start` to before `end`. `topic_id`: the broker's, another one when the topic was made anew."""

    topic_id: str
    start: int
    end: int


@dataclass
class _Known:
    """A span of which every record has its note."""

    span: Span
    notes: list[Note]


class Records:
    """Notes of the records in the spans that were asked for last. `letters`: topics of dead letters, of which the reason is noted."""

    def __init__(self, settings: Settings, letters: Collection[str]) -> None:
        self._settings, self._letters = settings, letters
        self._known: dict[Place, _Known] = {}

    def read(self, wanted: Mapping[Place, Span], until: float) -> None:
        """Read what is not known of these spans, and forget all others.

        At `until`, of `time.monotonic`, it ends: what was read is known, and the next time goes on from there.

        Raises:
            KafkaException: the broker says that it cannot be read.

        """
        self._known = {place: self._kept(place, span) for place, span in wanted.items()}
        behind = {place: span.end for place, span in wanted.items() if self._known[place].span.end < span.end}
        if behind and time.monotonic() < until:
            self._read(behind, until)

    def notes(self, place: Place) -> list[Note]:
        """Of the records that are known in a span, by offset."""
        return self._known[place].notes

    def end(self, place: Place) -> int:
        """Up to where a span is known; its own end where all was read."""
        return self._known[place].span.end

    def _kept(self, place: Place, span: Span) -> _Known:
        known = self._known.get(place)
        if known is None or known.span.topic_id != span.topic_id or not known.span.start <= span.start <= known.span.end <= span.end:
            return _Known(Span(span.topic_id, span.start, span.start), [])
        return _Known(Span(span.topic_id, span.start, known.span.end), [note for note in known.notes if note.offset >= span.start])

    def _read(self, behind: Mapping[Place, int], until: float) -> None:
        consumer = Consumer(
            {
                **self._settings.kafka.reader(group="streamhouse-read-to-end"),
                "queued.max.messages.kbytes": _PREFETCHED,
                "fetch.queue.backoff.ms": 5,  # how long it rests when so much waits, a second by default
            }
        )
        unread = dict(behind)
        try:
            consumer.assign([TopicPartition(*place, self._known[place].span.end) for place in unread])
            while unread and time.monotonic() < until:
                for message in consumer.consume(_BATCH, 0.05):
                    self._take(message, unread)
        finally:
            consumer.close()

    def _take(self, message: Message, unread: dict[Place, int]) -> None:
        """One more record of a partition, or word from it; a partition that has been read is `unread` no more."""
        place, error, offset = (message.topic() or "", message.partition() or 0), message.error(), message.offset() or 0
        if error is not None and error.code() == KafkaError._AUTO_OFFSET_RESET:  # it was deleted meanwhile
            unread.pop(place, None)
        elif error is not None and error.code() != KafkaError._PARTITION_EOF:
            raise KafkaException(error)
        elif place in unread:
            known, end = self._known[place], unread[place]
            if error is None and offset < end:  # what came since is seen with the next look
                known.notes.append(_noted(message, is_letter=place[0] in self._letters))
            is_over = error is not None or offset >= end - 1
            known.span = Span(known.span.topic_id, known.span.start, end if is_over else offset + 1)
            if is_over:
                del unread[place]


def _noted(message: Message, *, is_letter: bool) -> Note:
    value = _said(message)
    return Note(message.offset() or 0, message.timestamp()[1], _event_of(value), _reason_of(value) if is_letter else None)


def _event_of(value: bytes) -> tuple[str, int] | None:
    try:
        event = _event.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return (event.event_type[:_LONGEST_NAME], event.version) if event.event_type else None


def _reason_of(value: bytes) -> str:
    try:
        error = _letter.decode(value).data.error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "no dead letter"
    return f"{error.step}: {error.reason}"[:_LONGEST_NAME]


def _said(message: Message) -> bytes:
    """A value as JSON; nothing where it nests deeper than a decoder may follow it: anybody's records lie in a topic."""
    value = payload(message.value()) or b""
    return b"" if nests_deeper(value, DEPTH) else value
