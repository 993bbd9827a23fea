"""Which actions are answered, by the outputs themselves: the committed records of predictions and dead letters.

This is what a job goes on from. Flink's checkpoint says what should have been committed; the outputs say what was. Committed records
never change, so what was read once is kept in a file of the state folder, and only what came since is read again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
from confluent_kafka import KafkaError, KafkaException, Message, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from infra.config import Settings
from infra.contracts.contract import Topic
from infra.contracts.framing import payload
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError
from infra.whole_files import write_whole
from jobs.committed_records import end_offsets, first_offsets, read_to_end
from jobs.offset_ranges import NONE, Ranges, first_gap, joined, of_offsets
from jobs.scoring_parts import SOURCE_TOPIC

PREDICTIONS = "predictions"
DEAD_LETTERS = load_contracts().topics[SOURCE_TOPIC].dead_letter_topic or ""
_SECONDS = 15.0


class _PredictionData(msgspec.Struct, rename="camel"):
    action_partition: int
    action_offset: int


class _LetterData(msgspec.Struct, rename="camel"):
    source_partition: int
    source_offset: int


class _Prediction(msgspec.Struct):
    data: _PredictionData


class _Letter(msgspec.Struct):
    data: _LetterData


_PREDICTION, _LETTER = msgspec.json.Decoder(_Prediction), msgspec.json.Decoder(_Letter)


class OutputLostError(StreamhouseError):
    """An output ends before what was read of it: its broker lost records."""


@dataclass(frozen=True)
class Answered:
    """What the outputs held when they were read up to `positions`: by topic and partition, the next offset to read.

    `ranges`: by partition of user-actions, the offsets that have an answer. `topic_ids` change when an output is made anew.
    """

    topic_ids: dict[str, str]
    positions: dict[str, dict[int, int]]
    ranges: dict[int, Ranges]


def answered(settings: Settings, heard: Callable[[str, int], None] = lambda topic, ms: None) -> Answered:
    """Every answer that is committed as of now. `heard` is told topic and Kafka's time, in ms, of each that came since the last look.

    Where retention has cut an output, its archive table tells what stood there.

    Raises:
        OutputLostError: a topic does not reach as far as it was read.
        KafkaException: the broker does not answer, or a topic is missing.

    """
    known = _kept(settings)
    ids = _topic_ids(settings)
    if known is None or known.topic_ids != ids:
        known = Answered(ids, {topic: {} for topic in ids}, {})
    found: dict[int, list[Ranges]] = {}
    positions = {topic: dict(known.positions[topic]) for topic in ids}
    starts = []
    contracts = load_contracts().topics
    lows = first_offsets(settings, [(topic, partition) for topic in ids for partition in range(contracts[topic].partitions)])
    for (topic, partition), low in lows.items():
        first = positions[topic].get(partition, 0)
        if first < low:
            for answers_to, archived in _from_table(settings, contracts[topic], partition, first, low).items():
                found.setdefault(answers_to, []).append(archived)
            positions[topic][partition] = first = low
        starts.append(TopicPartition(topic, partition, first))
    for messages in _read_on(settings, starts):
        places: dict[int, list[int]] = {}
        for message in messages:
            topic, partition = message.topic() or "", message.partition() or 0
            positions[topic][partition] = (message.offset() or 0) + 1
            heard(topic, message.timestamp()[1])
            if (place := _place(topic, message)) is not None:
                places.setdefault(place[0], []).append(place[1])
        for partition, offsets in places.items():
            found.setdefault(partition, []).append(of_offsets(np.array(offsets, np.int64)))
    ranges = dict(known.ranges)
    for answers_to, several in found.items():
        ranges[answers_to] = joined(ranges.get(answers_to, NONE), np.concatenate(several))
    now = Answered(ids, positions, ranges)
    _keep(settings, now)
    return now


def _read_on(settings: Settings, starts: Sequence[TopicPartition]) -> Iterator[list[Message]]:
    try:
        yield from read_to_end(settings, starts)
    except KafkaException as error:
        if error.args[0].code() != KafkaError._AUTO_OFFSET_RESET:
            raise
        ends = end_offsets(settings, [(start.topic, start.partition) for start in starts])
        for start in starts:
            if start.offset > (end := ends[start.topic, start.partition]):
                message = (
                    f"topic {start.topic}, partition {start.partition}: expected records up to {start.offset}, as were read before, got a"
                    f" topic that ends at {end}: its broker lost committed answers; bring its files back, or begin anew with"
                    " `./streamhouse reset`"
                )
                raise OutputLostError(message) from error
        raise


def first_unanswered(settings: Settings, known: Answered) -> tuple[dict[int, int], Answered]:
    """By partition of user-actions, the offset of the first record without an answer, or where the next record will lie.

    Offsets that the topic skips (transaction markers, aborted records) count as answered from then on; those that retention has
    cut do not.

    Raises:
        KafkaException: the broker does not answer.

    """
    first, ranges = {}, dict(known.ranges)
    partitions = range(load_contracts().topics[SOURCE_TOPIC].partitions)
    for (_, partition), low in first_offsets(settings, [(SOURCE_TOPIC, partition) for partition in partitions]).items():
        while True:
            start, end = first_gap(ranges.get(partition, NONE), 0)
            if end is None or start < low or _holds_a_record(settings, partition, start, end):
                break
            ranges[partition] = joined(ranges[partition], np.array([[start, end]], np.int64))
        first[partition] = start
    now = replace(known, ranges=ranges)
    if any(len(ranges[partition]) != len(known.ranges[partition]) for partition in ranges):
        _keep(settings, now)
    return first, now


def without(settings: Settings, known: Answered, cut: Mapping[int, tuple[int, int]]) -> Answered:
    """Go on as if these ranges, which retention took, were answered."""
    ranges = dict(known.ranges)
    for partition, (start, end) in cut.items():
        ranges[partition] = joined(ranges.get(partition, NONE), np.array([[start, end]], np.int64))
    now = replace(known, ranges=ranges)
    _keep(settings, now)
    return now


def _place(topic: str, message: Message) -> tuple[int, int] | None:
    """The place in user-actions that a record answers; None where it answers none, which the audit names."""
    try:
        if topic == PREDICTIONS:
            prediction = _PREDICTION.decode(payload(message.value()) or b"").data
            return prediction.action_partition, prediction.action_offset
        letter = _LETTER.decode(message.value() or b"").data
    except msgspec.MsgspecError:
        return None
    return letter.source_partition, letter.source_offset


def _from_table(settings: Settings, topic: Topic, partition: int, first: int, low: int) -> dict[int, Ranges]:
    from lakehouse.read import read_batches

    names = ["action_partition", "action_offset"] if topic.name == PREDICTIONS else ["source_partition", "source_offset"]
    where = f"topic_partition = {partition:d} and topic_offset >= {first:d} and topic_offset < {low:d}"
    found: dict[int, Ranges] = {}
    for batch in read_batches(settings, topic.archive, columns=names, where=where):
        complete = batch.drop_null()
        partitions, offsets = (complete.column(name).to_numpy(zero_copy_only=False).astype(np.int64) for name in names)
        for answers_to in np.unique(partitions).tolist():
            found[answers_to] = joined(found.get(answers_to, NONE), of_offsets(offsets[partitions == answers_to]))
    return found


def _holds_a_record(settings: Settings, partition: int, start: int, end: int) -> bool:
    for messages in read_to_end(settings, [TopicPartition(SOURCE_TOPIC, partition, start)]):
        return (messages[0].offset() or 0) < end
    return False


def _topic_ids(settings: Settings) -> dict[str, str]:
    client = AdminClient({**settings.kafka.client(), "log_level": "0"})
    described = client.describe_topics(TopicCollection([PREDICTIONS, DEAD_LETTERS]), request_timeout=_SECONDS)
    return {topic: str(future.result(_SECONDS).topic_id) for topic, future in described.items()}


def _file(settings: Settings) -> Path:
    return settings.jobs_folder / "answered.json"


def _kept(settings: Settings) -> Answered | None:
    try:
        digest, _, body = _file(settings).read_text("utf-8").partition("\n")
        if digest != _digest(body):
            return None
        held = json.loads(body)
        return Answered(
            held["topic_ids"],
            {topic: {int(p): offset for p, offset in positions.items()} for topic, positions in held["positions"].items()},
            {int(p): np.array(ranges, np.int64).reshape(-1, 2) for p, ranges in held["ranges"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # it only saves reading the outputs again


def _digest(body: str) -> str:
    """A flipped bit in an offset would be an action that is never answered, or answered twice."""
    return hashlib.sha256(body.encode()).hexdigest()


def _keep(settings: Settings, known: Answered) -> None:
    held = {
        "topic_ids": known.topic_ids,
        "positions": known.positions,
        "ranges": {partition: ranges.tolist() for partition, ranges in known.ranges.items()},
    }
    body = json.dumps(held)
    write_whole(_file(settings), f"{_digest(body)}\n{body}")  # two may write at once: each is true
