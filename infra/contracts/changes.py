"""The contracts that were announced, in topic contract-changes: written by `apply`, read by whoever decodes while actions flow.

Of user-actions each contract says all of it, and when it takes effect; of another topic its events, which `apply` alone reads again.

    apply      appends the contract, which the broker stamps with its time A; it holds for actions stamped A + AHEAD_MS or later
    a worker   received actions stamped m at most, and then read contract-changes to its end: what it does not know was appended after
               m, so holds for actions stamped m + AHEAD_MS or later; up to half of that it decodes without looking again

So no record is decoded before its contract is known, nobody waits, and it costs a question to the broker for every two seconds of the log.
It rests on a broker's clock that is not set back, and on clocks of several brokers that differ, by less than `AHEAD_MS - LOOK_MS`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from infra.config import Settings
from infra.contracts.actions import TOPIC
from infra.contracts.codec import rfc3339
from infra.contracts.events import Rejected, UserAction
from infra.contracts.in_effect import BEGINNING, ActionContract, InEffect, Revision, Times, of_files
from infra.errors import StreamhouseError

CHANGES = "contract-changes"
AHEAD_MS = 4000
LOOK_MS = 2000
_SECONDS = 15.0
_UNKNOWN_TOPIC = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION, KafkaError._UNKNOWN_TOPIC)


class _Data(msgspec.Struct, rename="camel"):
    topic: str
    sha256: str
    from_beginning: bool
    document: str


class _Changed(msgspec.Struct, rename="camel"):
    event_type: str
    event_id: str
    timestamp: str
    version: Literal[1]
    source: str
    correlation_id: str
    data: _Data


_decoder = msgspec.json.Decoder(_Changed)


class Changes:
    """The contracts on record, for one reader that follows them. Nothing is asked before the first call."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer: Consumer | None = None
        self._next = 0
        self._revisions: list[Revision] = []
        self._known_to: int | None = None
        self._in_effect = of_files()

    def upto(self, kafka_ms: int) -> InEffect:
        """What holds for records that were appended by `kafka_ms` and are at hand; asks the broker where it might not know.

        While nothing is on record, the contract files of this code hold.

        Raises:
            KafkaException: the broker does not answer.
            StreamhouseError: a contract on record cannot be read by this code.

        """
        if self._known_to is None or kafka_ms > self._known_to + LOOK_MS:
            self.refresh()
            self._known_to = max(kafka_ms, self._known_to or kafka_ms)
        return self._in_effect

    def refresh(self) -> list[Revision]:
        """Read to the end, and answer all contracts on record; raises as `upto`."""
        place = TopicPartition(CHANGES, 0, self._next or OFFSET_BEGINNING)
        if self._consumer is None:
            self._consumer = Consumer(
                {
                    **self._settings.kafka.client(),
                    "group.id": "streamhouse-contracts",
                    "enable.auto.commit": False,
                    "allow.auto.create.topics": False,
                    "enable.partition.eof": True,
                    "fetch.wait.max.ms": 20,
                    "log_level": 2,
                }
            )
        try:
            low, end = self._consumer.get_watermark_offsets(place, timeout=_SECONDS)
        except KafkaException as error:
            if error.args[0].code() in _UNKNOWN_TOPIC:
                return self._revisions
            raise
        if end > max(self._next, low):
            self._read(self._consumer, place, end)
        return self._revisions

    def close(self) -> None:
        """Let go of the broker."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _read(self, consumer: Consumer, place: TopicPartition, end: int) -> None:
        found: list[Revision] = []
        position, until = place.offset, time.monotonic() + _SECONDS
        consumer.assign([place])
        try:
            while position < end:
                message = consumer.poll(max(0.0, until - time.monotonic()))
                if message is None:
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"topic {CHANGES}: no record within {_SECONDS:.0f} s"))
                error = message.error()
                if error is not None and error.code() == KafkaError._PARTITION_EOF:
                    break
                if error is not None:
                    raise KafkaException(error)
                position = (message.offset() or 0) + 1
                if (revision := revision_of(message)) is not None:
                    found.append(revision)
        finally:
            consumer.unassign()
        if found:
            self._in_effect = InEffect([*self._revisions, *found])
            self._revisions = [*self._revisions, *found]
        self._next = end


class Followed:
    """The contract of a log that goes on: looked up as its records come. Each call raises as `Changes.upto`."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes

    @property
    def newest(self) -> ActionContract:
        """As `InEffect.newest`."""
        return self._changes.upto(0).newest

    def at(self, kafka_ms: int) -> ActionContract:
        """As `InEffect.at`."""
        return self._changes.upto(kafka_ms).at(kafka_ms)

    def decode(self, values: Sequence[bytes | None], kafka_ms: Times) -> list[UserAction | Rejected]:
        """As `InEffect.decode`."""
        return self._changes.upto(int(kafka_ms.max(initial=0))).decode(values, kafka_ms)

    def windows(self, kafka_ms: Times) -> tuple[Times, Times]:
        """As `InEffect.windows`."""
        return self._changes.upto(int(kafka_ms.max(initial=0))).windows(kafka_ms)


def revision_of(message: Message) -> Revision | None:
    """The contract that a record of contract-changes announces; None for what is no announcement of a contract of user-actions.

    Raises:
        StreamhouseError: it is one that this code cannot read.

    """
    try:
        head = msgspec.json.decode(message.value() or b"", type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, ValueError):
        return None
    if bytes(head.get("eventType", b"")) != b'"ContractChanged"':
        return None
    try:
        event = _decoder.decode(message.value() or b"")
        data = event.data
        if data.topic != TOPIC:
            return None
        kind, moment = message.timestamp()
        if kind != TIMESTAMP_LOG_APPEND_TIME:
            raise ValueError("its time is not the broker's")
        revision = Revision(BEGINNING if data.from_beginning else moment + AHEAD_MS, data.document, event.event_id)
        if revision.sha256 != data.sha256:
            raise ValueError(f"a document of sha256 {revision.sha256} that says {data.sha256}")  # noqa: EM102 - told below
        InEffect([revision])
    except (msgspec.MsgspecError, ValueError, KeyError, TypeError, StreamhouseError) as error:
        sentence = f"topic {CHANGES}, offset {message.offset()}: expected a contract that this code reads, got {error}; run a newer release"
        raise StreamhouseError(sentence) from error
    return revision


def document_of(message: Message) -> tuple[str, str] | None:
    """The topic whose contract a record of contract-changes says, and that contract; None for what says none."""
    try:
        event = _decoder.decode(message.value() or b"")
    except (msgspec.MsgspecError, ValueError):
        return None
    data = event.data
    is_whole = event.event_type == "ContractChanged" and Revision(BEGINNING, data.document).sha256 == data.sha256
    return (data.topic, data.document) if is_whole else None


def announce(settings: Settings, document: str, *, first: bool, change_id: str, now_ms: int) -> Revision:
    """Append a contract of user-actions, and answer from when it holds; a `first` one holds for all that there is, too.

    Raises:
        KafkaException: it is not known to have been appended.

    """
    (moment,) = append(settings, [Said(TOPIC, document, first, change_id)], now_ms)
    return Revision(BEGINNING if first else moment + AHEAD_MS, document, change_id)


@dataclass(frozen=True)
class Said:
    """A topic's contract, to be put on record. `first`: none was before."""

    topic: str
    document: str
    first: bool
    change_id: str


def append(settings: Settings, said: Sequence[Said], now_ms: int) -> list[int]:
    """Put contracts on record, and answer when the broker appended each.

    Raises:
        KafkaException: one of them is not known to have been appended.

    """
    moments: dict[str, int] = {}
    refused: list[KafkaError] = []
    producer = Producer({**settings.kafka.client(), "enable.idempotence": True, "message.timeout.ms": int(_SECONDS * 1000), "log_level": 2})
    for one in said:

        def on_delivery(error: KafkaError | None, message: Message, change_id: str = one.change_id) -> None:
            if error is not None:
                refused.append(error)
            else:
                moments[change_id] = message.timestamp()[1]

        data = _Data(one.topic, Revision(BEGINNING, one.document).sha256, one.first, one.document)
        event = _Changed("ContractChanged", one.change_id, rfc3339(now_ms), 1, "streamhouse/apply", one.change_id, data)
        producer.produce(CHANGES, msgspec.json.encode(event), one.topic.encode(), on_delivery=on_delivery)
    producer.flush(_SECONDS)
    if refused or len(moments) < len(said):
        raise KafkaException(refused[0] if refused else KafkaError(KafkaError._TIMED_OUT, f"topic {CHANGES}: no answer"))
    return [moments[one.change_id] for one in said]
