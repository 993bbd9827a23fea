"""The plain second count beside the audit: every action answered once, by what it must be answered with; topics, readers, tables agree."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import orjson
from confluent_kafka import OFFSET_BEGINNING, Message, TopicPartition

from infra.config import Settings
from infra.contracts.load import load_contracts
from jobs.chaos.oracle import Expected, hashed, unbroken
from jobs.chaos.reader import ACTIONS, LETTERS, PREDICTIONS, Answers
from jobs.chaos.traffic import Sent
from jobs.committed_records import read_to_end
from lakehouse.read import read_batches

Place = tuple[int, int]
"""Partition and offset of an action."""


class Count:
    """Answers, against what was sent and what an unbroken run answers. `records[topic][p][o]`: how often a record came from there."""

    def __init__(self, expected: Expected, sent: Sent) -> None:
        self.expected, self.sent = expected, sent
        self.answers = Answers(len(expected.places))
        self.records = {name: [array("B") for _ in range(load_contracts().topics[name].partitions)] for name in (PREDICTIONS, LETTERS)}
        self._other_value: list[Place] = []
        self._other_reason: list[str] = []

    def take(self, topic: str, at: Place, key: bytes | None, value: bytes) -> None:
        """One committed record of a topic of answers."""
        _count(self.records[topic], *at)
        place = self.answers.add(topic, at, key, value)
        if topic == PREDICTIONS:
            if hashed(value) != _at(self.expected.predictions, place):
                self._other_value.append(place)
            return
        kind, reason = self.sent.at(*place)
        got = orjson.loads(value)["data"]["error"]["reason"]
        if kind and got != reason:
            self._other_reason.append(f"{kind} at {place}: expected {reason}, got {got}")

    def findings(self) -> list[str]:
        """What is not as it must be, a sentence each."""
        said = []
        missing, twice, unasked, lost, refused, taken = [], [], [], [], [], []
        answered = self.answers.predictions, self.answers.letters
        for p, places in enumerate(self.expected.places):
            longest = max(len(places), *(len(counts[p]) for counts in (*answered, self.sent.codes)))
            for o in range(longest):
                place = p, o
                there, predicted, letters = (_at(counts, place) for counts in (self.expected.places, *answered))
                kind, reason = self.sent.at(*place)
                if there and not predicted + letters:
                    missing.append(place)
                if predicted + letters > 1:
                    twice.append(place)
                if predicted + letters and not there:
                    unasked.append(place)
                if kind and not there:
                    lost.append(place)
                if kind and letters and reason is None:
                    refused.append(place)
                if kind and predicted and reason is not None:
                    taken.append(place)
        for what, found in (
            ("actions were left unanswered", missing),
            ("actions were answered more than once", twice),
            ("answers are for actions that the topic does not hold", unasked),
            ("actions that the broker took are not in the topic", lost),
            ("good actions became dead letters", refused),
            ("bad actions were predicted", taken),
            ("predictions differ from those of an unbroken run", self._other_value),
        ):
            if found:
                said.append(f"{len(found)} {what}, the first at (partition, offset) {', '.join(map(str, found[:3]))}")
        if self._other_reason:
            said.append(f"{len(self._other_reason)} dead letters give another reason: {'; '.join(self._other_reason[:3])}")
        if self.answers.disordered:
            said.append(
                f"{len(self.answers.disordered)} predictions are out of their user's order: {'; '.join(self.answers.disordered[:3])}"
            )
        return said

    def compared(self, live: Answers) -> list[str]:
        """How a consumer that read all the time saw something else than one that reads at the end."""
        said = []
        for topic, partition in sorted({*self.answers.seen, *live.seen}):
            there, (number, total) = (seen.get((topic, partition), (0, 0)) for seen in (live.seen, self.answers.seen))
            if there != (number, total):
                got = f"{there[0]} records" if there[0] != number else f"{number} other records"
                said.append(f"topic {topic}, partition {partition}: who read on all the time saw {got}, who reads at the end {number}")
        return said

    def tables(self, settings: Settings) -> list[str]:
        """Where a table does not hold its topic's records, each once."""
        said = []
        for topic in (ACTIONS, PREDICTIONS, LETTERS):
            wanted = self.expected.places if topic == ACTIONS else self.records[topic]
            table = load_contracts().topics[topic].archive
            held = _held(settings, table, len(wanted))
            for what, judge in _JUDGES:
                found = list(islice(_differing(wanted, held, judge), 1000))
                if found:
                    said.append(f"table {table}: {len(found)} records {what}, the first at (partition, offset) {found[0]}")
        return said

    def rows(self) -> dict[str, int]:
        """How many records each topic holds, by its table."""
        counted = {PREDICTIONS: self.records[PREDICTIONS], LETTERS: self.records[LETTERS], ACTIONS: self.expected.places}
        return {load_contracts().topics[topic].archive: sum(map(sum, places)) for topic, places in counted.items()}


def count(settings: Settings, sent: Sent) -> Count:
    """Read both topics of answers cold, to their ends."""
    counted = Count(unbroken(settings), sent)
    for topic in (PREDICTIONS, LETTERS):
        for message in _committed(settings, topic):
            counted.take(topic, (message.partition() or 0, message.offset() or 0), message.key(), message.value() or b"")
    return counted


_JUDGES: tuple[tuple[str, Callable[[int, int], bool]], ...] = (
    ("of the topic are missing", lambda there, held: bool(there) and not held),
    ("stand there twice", lambda there, held: held > 1),
    ("stand there that the topic does not hold", lambda there, held: bool(held) and not there),
)


def _differing(wanted: Sequence[Any], held: Sequence[Any], judge: Callable[[int, int], bool]) -> Iterator[Place]:
    for p in range(len(wanted)):
        for o in range(max(len(wanted[p]), len(held[p]))):
            if judge(_at(wanted, (p, o)), _at(held, (p, o))):
                yield p, o


def _held(settings: Settings, table: str, partitions: int) -> list[array[int]]:
    held = [array("B") for _ in range(partitions)]
    for batch in read_batches(settings, table, columns=["topic_partition", "topic_offset"]):
        for partition, offset in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
            _count(held, partition, offset)
    return held


def _count(counts: Sequence[array[int]], partition: int, offset: int) -> None:
    mine = counts[partition]
    if len(mine) <= offset:
        mine.extend([0] * (offset + 1 - len(mine)))
    mine[offset] = min(255, mine[offset] + 1)


def _at(counts: Sequence[Any], place: Place) -> int:
    partition, offset = place
    return int(counts[partition][offset]) if offset < len(counts[partition]) else 0


def _committed(settings: Settings, topic: str) -> Iterable[Message]:
    partitions = load_contracts().topics[topic].partitions
    for messages in read_to_end(settings, [TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(partitions)]):
        yield from messages
