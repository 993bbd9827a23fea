"""What came out: every answer by the action that it answers, and whether two sides gave the same answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
from confluent_kafka import Consumer, Message, TopicPartition

from infra.config import Settings
from jobs.committed_records import read_to_end

Place = tuple[int, int]
"""Partition and offset of an action."""


class _Data(msgspec.Struct, rename="camel"):
    action_partition: int
    action_offset: int
    score: msgspec.Raw
    features: msgspec.Raw


class _Prediction(msgspec.Struct):
    data: _Data


class _PlacedData(msgspec.Struct, rename="camel"):
    action_partition: int
    action_offset: int


class _Placed(msgspec.Struct):
    data: _PlacedData


_prediction = msgspec.json.Decoder(_Prediction)
_placed = msgspec.json.Decoder(_Placed)


@dataclass(frozen=True)
class Answer:
    """Score and features as they stand in the JSON: the shortest text of a float32, so equal texts are equal bits; and the whole value."""

    score: bytes
    features: bytes
    value: bytes


@dataclass
class Answers:
    """Committed predictions of one side. `appended`: when the broker took the last one, ms since 1970. `dead_letters`: how many came."""

    of: dict[Place, Answer] = field(default_factory=dict)
    twice: list[Place] = field(default_factory=list)
    appended: int = 0
    dead_letters: int = 0

    def add(self, message: Message) -> None:
        """Take in one record of the topic of predictions."""
        value = message.value() or b""
        data = _prediction.decode(value).data
        where = data.action_partition, data.action_offset
        if where in self.of:
            self.twice.append(where)
        self.of[where] = Answer(bytes(data.score), bytes(data.features), value)
        self.appended = max(self.appended, message.timestamp()[1])


def place(value: bytes) -> Place:
    """The action that a prediction answers."""
    data = _placed.decode(value).data
    return data.action_partition, data.action_offset


class Committed:
    """Committed records of a topic from where the last call stopped."""

    def __init__(self, settings: Settings, topic: str, partitions: int) -> None:
        self.topic = topic
        self._next = [TopicPartition(topic, partition, 0) for partition in range(partitions)]
        self._settings = settings
        self._asking: Consumer | None = None

    def end(self) -> int:
        """Up to where records are committed, summed over the partitions; the broker's own records at the end of a transaction count too."""
        if self._asking is None:
            self._asking = Consumer({**self._settings.kafka.client(), "group.id": "benchmark", "isolation.level": "read_committed"})
        return sum(self._asking.get_watermark_offsets(TopicPartition(self.topic, there.partition), timeout=30)[1] for there in self._next)

    def read(self) -> list[Message]:
        """Everything up to the topic's end as of now.

        Raises:
            KafkaException: the broker does not answer.

        """
        found = []
        for messages in read_to_end(self._settings, self._next):
            for message in messages:
                self._next[message.partition() or 0].offset = (message.offset() or 0) + 1
            found += messages
        return found


def faults(name: str, sent: Iterable[Place], got: Answers) -> list[str]:
    """What one side left unanswered, answered twice, refused, or answered unasked, a sentence each."""
    expected = set(sent)
    missing, unasked = sorted(expected - got.of.keys()), sorted(got.of.keys() - expected)
    said = []
    for what, places in (("left unanswered", missing), ("answered twice", got.twice), ("answered though not sent", unasked)):
        if places:
            said.append(f"{name}: {len(places)} of {len(expected)} actions {what}, the first at (partition, offset) {places[0]}")
    if got.dead_letters:
        said.append(f"{name}: {got.dead_letters} of {len(expected)} actions became dead letters; every one is good")
    return said


def differences(name: str, got: Answers, other_name: str, other: Answers) -> list[str]:
    """Where two sides answered the same action otherwise, a sentence for each kind."""
    said = []
    both = sorted(got.of.keys() & other.of.keys())
    for what in ("score", "features", "value"):
        differ = [where for where in both if getattr(got.of[where], what) != getattr(other.of[where], what)]
        if differ:
            one, two = (getattr(side.of[differ[0]], what).decode() for side in (got, other))
            said.append(
                f"{len(differ)} of {len(both)} actions differ in {what}, the first at (partition, offset) {differ[0]}:"
                f" {name} {one}, {other_name} {two}"
            )
    return said
