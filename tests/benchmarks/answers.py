"""What came out: every answer by the action that it answers, and whether two sides gave the same answers."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import msgspec
from confluent_kafka import Consumer, Message, TopicPartition

from infra.config import Settings
from infra.errors import StreamhouseError
from jobs.committed_records import end_offsets, read_to_end

Place = tuple[int, int]
"""Partition and offset of a record of the input."""
Sent = dict[Place, str | None]
"""What lies where: the reason of the dead letter that must answer it; None: a prediction must."""


class AnswersWrong(StreamhouseError):
    """An answer is missing, came twice or differs: no speed counts."""


class _Data(msgspec.Struct, rename="camel"):
    action_partition: int
    action_offset: int
    score: msgspec.Raw
    features: msgspec.Raw = msgspec.Raw(b"null")  # a rival's predictions do not carry them


class _Prediction(msgspec.Struct):
    data: _Data


class _Error(msgspec.Struct):
    reason: str


class _LetterData(msgspec.Struct, rename="camel"):
    source_partition: int
    source_offset: int
    error: _Error


class _Letter(msgspec.Struct):
    data: _LetterData


class _PlacedData(msgspec.Struct, rename="camel"):
    action_partition: int
    action_offset: int


class _Placed(msgspec.Struct):
    data: _PlacedData


class _NamedData(msgspec.Struct, rename="camel"):
    action_id: str
    score: float


class _Named(msgspec.Struct):
    data: _NamedData


_named = msgspec.json.Decoder(_Named)
_prediction = msgspec.json.Decoder(_Prediction)
_letter = msgspec.json.Decoder(_Letter)
_placed = msgspec.json.Decoder(_Placed)


@dataclass(frozen=True, slots=True)
class Answer:
    """Score and features as they stand in the JSON: the shortest text of a float32, so equal texts are equal bits; and the whole value."""

    score: bytes
    features: bytes
    value: bytes


@dataclass
class Answers:
    """Committed predictions of one side, and the reasons of its dead letters. `appended`: when the broker took the last, ms since 1970;
    `times`: when it took each, in the order in which they were read.
    """

    of: dict[Place, Answer] = field(default_factory=dict)
    refused: dict[Place, str] = field(default_factory=dict)
    twice: list[Place] = field(default_factory=list)
    appended: int = 0
    times: array[int] = field(default_factory=lambda: array("q"))

    def add(self, message: Message) -> None:
        """Take in one record of the topic of predictions."""
        value = message.value() or b""
        data = _prediction.decode(value).data
        self._answered(where := (data.action_partition, data.action_offset), message)
        self.of[where] = Answer(bytes(data.score), bytes(data.features), value)

    def add_refusal(self, message: Message) -> None:
        """Take in one record of the topic of dead letters."""
        data = _letter.decode(message.value() or b"").data
        self._answered(where := (data.source_partition, data.source_offset), message)
        self.refused[where] = data.error.reason

    def _answered(self, where: Place, message: Message) -> None:
        if where in self.of or where in self.refused:
            self.twice.append(where)
        self.times.append(at := message.timestamp()[1])
        self.appended = max(self.appended, at)


def place(value: bytes) -> Place:
    """The action that a prediction answers."""
    data = _placed.decode(value).data
    return data.action_partition, data.action_offset


class Committed:
    """Committed records of a topic from where the last call stopped; first from where the topic ends as this is made."""

    def __init__(self, settings: Settings, topic: str, partitions: int) -> None:
        self.topic = topic
        ends = end_offsets(settings, [(topic, partition) for partition in range(partitions)])
        self._next = [TopicPartition(topic, partition, offset) for (_, partition), offset in ends.items()]
        self._settings = settings
        self._asking: Consumer | None = None

    def end(self) -> int:
        """Up to where records are committed, summed over the partitions; the broker's own records at the end of a transaction count too."""
        if self._asking is None:
            quiet = {"log_level": 2}  # that the broker goes when a stack ends is no news
            self._asking = Consumer(
                {**self._settings.kafka.client(), "group.id": "benchmark", "isolation.level": "read_committed", **quiet}
            )
        return sum(self._asking.get_watermark_offsets(TopicPartition(self.topic, there.partition), timeout=30)[1] for there in self._next)

    def close(self) -> None:
        """End what asks the broker; nothing is asked afterwards."""
        if self._asking is not None:
            self._asking.close()
            self._asking = None

    def read(self) -> Iterator[Message]:
        """Everything up to the topic's end as of now, to be read to its end.

        Raises:
            KafkaException: the broker does not answer.

        """
        for messages in read_to_end(self._settings, self._next):
            for message in messages:
                self._next[message.partition() or 0].offset = (message.offset() or 0) + 1
            yield from messages


def faults(name: str, sent: Mapping[Place, str | None], got: Answers) -> list[str]:
    """What one side left unanswered, answered twice, unasked or in the wrong way, a sentence each."""
    answered = got.of.keys() | got.refused.keys()
    found = {
        "left unanswered": sorted(sent.keys() - answered),
        "answered twice": got.twice,
        "answered though not sent": sorted(answered - sent.keys()),
        "became dead letters though they are good": sorted(where for where in got.refused if where in sent and sent[where] is None),
        "were predicted though they are bad": sorted(where for where in got.of if sent.get(where) is not None),
    }
    said = [
        f"{name}: {len(places)} of {len(sent)} actions {what}, the first at (partition, offset) {places[0]}"
        for what, places in found.items()
        if places
    ]
    misjudged = sorted((where, reason) for where, reason in got.refused.items() if sent.get(where) not in (None, reason))
    if misjudged:
        where, reason = misjudged[0]
        said.append(
            f"{name}: {len(misjudged)} of {len(sent)} actions were refused for another reason, the first at (partition, offset) {where}:"
            f" expected {sent[where]}, got {reason}"
        )
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


def unequal(name: str, ours: Answers, theirs: Answers, tolerance: float = 1e-6) -> list[str]:
    """Where the rival `name` answered otherwise than we did, a sentence for each kind: by the action's id, wherever it lies, and score."""
    one = scores(ours)
    said = unequal_scores(name, one, theirs, tolerance)
    if len(one) != len(ours.of):
        said.append(f"{name}: of {len(ours.of)} answers of ours, some name the same action")
    return said


def unequal_scores(name: str, ours: Mapping[str, float], theirs: Answers, tolerance: float = 1e-6) -> list[str]:
    """The same, where of ours the score by the action's id is all that was kept."""
    other = scores(theirs)
    both = ours.keys() & other.keys()
    found = {
        "left unanswered": sorted(ours.keys() - other.keys()),
        "answered though we did not": sorted(other.keys() - ours.keys()),
        (differing := f"differ by more than {tolerance:g}"): sorted(
            action for action in both if not abs(ours[action] - other[action]) <= tolerance
        ),
    }
    said = [f"{name}: {len(actions)} of {len(ours)} actions {what}, the first {actions[0]}" for what, actions in found.items() if actions]
    if differ := found[differing]:
        said.append(f"{name}: action {differ[0]} is {other[differ[0]]}, ours {ours[differ[0]]}")
    if len(other) != len(theirs.of):
        said.append(f"{name}: of {len(theirs.of)} answers, some name the same action")
    return said


def scores(got: Answers) -> dict[str, float]:
    """The score of each prediction by the id of its action; fewer than predictions where some name the same one."""
    decoded = (_named.decode(answer.value).data for answer in got.of.values())
    return {data.action_id: data.score for data in decoded}
