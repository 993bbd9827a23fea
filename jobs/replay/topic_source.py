"""A partition of user-actions beside the predictions that answer it, out of the topics themselves, in memory bounded by their disorder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from confluent_kafka import Message, TopicPartition

from infra.config import Settings
from infra.contracts.in_effect import Contract
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError
from jobs.archive_rows import Row, archive_row
from jobs.committed_records import end_offsets, first_offsets, read_to_end
from jobs.framed_records import plain_values
from jobs.records import Records, Rules
from jobs.replay.chosen import Chosen, Span
from jobs.scoring_parts import SOURCE_TOPIC, as_records

_STEP = 20_000
_KINDS: dict[str, pa.DataType] = {
    "action_partition": pa.int32(),
    "action_offset": pa.int64(),
    "score": pa.float32(),
    "decision": pa.bool_(),
    "features": pa.list_(pa.float32()),
}


@dataclass(frozen=True)
class Stretch:
    """Records with the predictions for them. `again`: records that came before, with predictions that came late.

    `last`: the last action of the partition that has a prediction, as far as the topic of predictions has been read.
    """

    records: Records
    predictions: pa.Table
    last: int
    again: bool = False


def topic_spans(settings: Settings) -> dict[int, Span]:
    """The offsets that each partition of user-actions holds now.

    Raises:
        KafkaException: the broker does not answer.
        StreamhouseError: predictions are spread over another number of partitions.

    """
    topics = load_contracts().topics
    count = topics[SOURCE_TOPIC].partitions
    if topics["predictions"].partitions != count:
        message = f"topic predictions: expected {count} partitions as {SOURCE_TOPIC} has, so that a user has one number; replay the tables"
        raise StreamhouseError(message)
    places = [(SOURCE_TOPIC, partition) for partition in range(count)]
    lows, ends = first_offsets(settings, places), end_offsets(settings, places)
    return {p: (lows[SOURCE_TOPIC, p], ends[SOURCE_TOPIC, p]) for p in range(count) if ends[SOURCE_TOPIC, p] > lows[SOURCE_TOPIC, p]}


def topic_stretches(
    settings: Settings, partition: int, span: Span, what: Chosen, columns: Sequence[str], rules: Rules
) -> Iterator[Stretch]:
    """Chosen records in offset order, each time with the predictions for them that came in order; late ones at the end, if only none.

    Raises:
        KafkaException: the broker does not answer.

    """
    waiting = _Waiting(_predictions(settings, partition, rules.contract), partition)
    done = span[0]
    for messages in _steps(settings, partition, span):
        end = (messages[-1].offset() or 0) + 1
        yield Stretch(*_chosen(messages, waiting.below(done, end), what, columns, rules), waiting.last)
        done = end
    waiting.below(done, span[1])
    late = waiting.late(span)
    yield Stretch(*_chosen([], [], what, columns, rules), waiting.last, again=True)
    if late:
        offsets = sorted({row["action_offset"] for row in late})
        wanted = set(offsets)
        for messages in _steps(settings, partition, (offsets[0], offsets[-1] + 1)):
            some = [message for message in messages if message.offset() in wanted]
            there = {message.offset() for message in some}
            rows = sorted((row for row in late if row["action_offset"] in there), key=lambda row: row["action_offset"])
            if some:
                yield Stretch(*_chosen(some, rows, what, columns, rules), waiting.last, again=True)


@dataclass
class _Waiting:
    """Predictions of a partition in topic order, handed out in the order of the actions that they answer."""

    rest: Iterator[Row]
    partition: int
    ahead: list[Row] = field(default_factory=list)
    behind: list[Row] = field(default_factory=list)
    last: int = -1

    def __post_init__(self) -> None:
        """Of the topic's partition, those that answer actions of the same one."""
        self.rest = self._seen(self.rest)

    def _seen(self, rows: Iterator[Row]) -> Iterator[Row]:
        for row in rows:
            if row.get("action_partition") == self.partition:
                self.last = max(self.last, row["action_offset"])
                yield row

    def below(self, first: int, end: int) -> list[Row]:
        """Those for offsets from `first` to `end`, as far as they came in order."""
        some, ahead = list[Row](), list[Row]()
        for row in self.ahead:
            (some if row["action_offset"] < end else ahead).append(row)
        if not ahead:
            for row in self.rest:
                offset = row["action_offset"]
                if offset >= end:
                    ahead.append(row)
                    break
                (some if offset >= first else self.behind).append(row)
        self.ahead = ahead
        return sorted(some, key=lambda row: row["action_offset"])

    def late(self, span: Span) -> list[Row]:
        """What came out of order, once all has been read."""
        both = [*self.behind, *self.ahead, *self.rest]
        return [row for row in both if span[0] <= row["action_offset"] < span[1]]


def _predictions(settings: Settings, partition: int, contract: Contract) -> Iterator[Row]:
    first = first_offsets(settings, [("predictions", partition)])["predictions", partition]
    for messages in read_to_end(settings, [TopicPartition("predictions", partition, first)]):
        for message in messages:
            yield archive_row("predictions", message.value(), message.timestamp()[1], contract)


def _steps(settings: Settings, partition: int, span: Span) -> Iterator[list[Message]]:
    waiting: list[Message] = []
    for messages in read_to_end(settings, [TopicPartition(SOURCE_TOPIC, partition, span[0])]):
        waiting += [message for message in messages if (message.offset() or 0) < span[1]]
        if len(waiting) >= _STEP:
            yield waiting
            waiting = []
        if (messages[-1].offset() or 0) + 1 >= span[1]:
            break
    if waiting:
        yield waiting


def _chosen(messages: list[Message], rows: list[Row], what: Chosen, columns: Sequence[str], rules: Rules) -> tuple[Records, pa.Table]:
    if what.by_time:
        values, _ = plain_values(as_records(messages), rules)
        of_each = zip(messages, values, strict=True)
        times = [archive_row(SOURCE_TOPIC, value, m.timestamp()[1], rules.contract)["event_ms"] for m, value in of_each]
        messages = [m for m, fits in zip(messages, what.holds(np.array(times, np.int64)).tolist(), strict=True) if fits]
        fitting = what.holds(np.array([row["event_ms"] for row in rows], np.int64)).tolist()
        rows = [row for row, fits in zip(rows, fitting, strict=True) if fits]
    arrays: dict[str, Any] = {name: pa.array([row.get(name) for row in rows], _KINDS.get(name, pa.string())) for name in columns}
    return as_records(messages), pa.table(arrays)
