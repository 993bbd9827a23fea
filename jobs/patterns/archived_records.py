"""Records that retention took from a topic, out of its archive table, for a projection that has not read them yet.

What was folded without a record that is missing cannot be mended later. So a stretch of the table is looked through before the first of its
records is handed out: the table has to reach over all that the topic lost, hold each offset once, and as many records as its receipts say.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from infra.config import Settings
from infra.contracts.load import load_contracts
from jobs.accepted_losses import Loss, accepted
from jobs.archive_columns import ARCHIVED
from jobs.committed_records import end_offsets
from jobs.patterns.projection import Projection
from jobs.patterns.read_models import Place
from jobs.patterns.topic_cut import TopicCutError, wanted
from lakehouse.errors import LakehouseError
from lakehouse.ledger import appended
from lakehouse.python_values import python_values
from lakehouse.read import LogPlan, plan_log, read_log, read_planned, snapshot

log = logging.getLogger("project")

STRETCH = 500_000
"""How many offsets are read of one state of the table, which its upkeep deletes ten minutes after it made another."""
_COLUMNS = ("topic_offset", "value", "headers", "kafka_time")


@dataclass(frozen=True)
class Cut:
    """What a projection lacks of one place: it reads `following` next, and the topic begins at `first`. It wants what lies below `end`."""

    projection: Projection
    place: Place
    following: int
    first: int
    end: int

    def refuse(self, got: str, remedy: str) -> NoReturn:
        """Say that the archive has not what the topic lost.

        Raises:
            TopicCutError: always.

        """
        expected = wanted(self.projection, self.place, self.following)
        lost = f"which begins at {self.first}: retention took what lies between, rows without it would be wrong"
        message = f"{expected}, {lost}, and {got}; {remedy}"
        raise TopicCutError(message)


@dataclass(frozen=True)
class ArchivedRecord:
    """One record as the archive has it. `kafka_ms`: when the broker appended it."""

    offset: int
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    kafka_ms: int


def archived(settings: Settings, cuts: Iterable[Cut], batch: int) -> Iterator[tuple[Place, list[ArchivedRecord], int]]:
    """What topics lost, a place after the other, each in order: `batch` records at a time, and the offset behind them.

    What ends a stretch is its end alone, without a record.

    Raises:
        TopicCutError: the archive does not hold all of them, as far as can be known.
        KafkaException: the broker does not answer.

    """
    for cut in cuts:
        for start in range(cut.following, cut.end, STRETCH):
            stretch = replace(cut, following=start, end=min(cut.end, start + STRETCH))
            try:
                yield from _stretch(settings, stretch, batch)
            except LakehouseError as error:
                stretch.refuse(f"its archive cannot be read: {error}", "then start again: it goes on where it is")


def _stretch(settings: Settings, cut: Cut, batch: int) -> Iterator[tuple[Place, list[ArchivedRecord], int]]:
    topic, partition = cut.place
    declared = load_contracts().topics.get(topic)
    if declared is None or declared.table is None:
        cut.refuse("no table archives the topic", "make its retention longer, and build the read model from a new topic")
    table = declared.table
    receipts = appended(settings, table, partition, cut.following, cut.end)  # before the state that must hold what they say
    pinned = snapshot(settings, table)
    if pinned is None:
        cut.refuse(f"its archive, table {table}, is empty", _remedy(cut))
    plan = plan_log(settings, table, _COLUMNS, pinned)
    _refuse_short(settings, cut, table, plan)
    _look_through(settings, cut, table, pinned, receipts)
    for rows in read_planned(plan, partition, cut.following, cut.end):
        for start in range(0, len(rows), batch):
            records = _records(rows.slice(start, batch))
            yield cut.place, records, records[-1].offset + 1
    yield cut.place, [], cut.end


def _refuse_short(settings: Settings, cut: Cut, table: str, plan: LogPlan) -> None:
    """Refuse a table that ends before what the topic still holds, or lacks what somebody gave up.

    Its job reads a topic from offset 0 on unless a person gave up what was cut, so what lies before its first row was taken back.
    Projections read what is written in transactions, so a single offset may be the broker's mark behind the last record.
    """
    topic, partition = cut.place
    spans = [(low, high + 1) for first, last, low, high, _ in plan.files if first <= partition <= last]
    if not spans:
        cut.refuse(f"its archive, table {table}, holds nothing of this partition", _remedy(cut))
    end = max(high for _, high in spans)
    if end < cut.first and not Loss(topic, partition, end, cut.first, end_offsets(settings, [cut.place])[cut.place]).may_be_a_mark:
        cut.refuse(f"its archive, table {table}, ends before {end}", _remedy(cut))
    for loss in accepted(settings, _job(topic), cut.place, cut.following, cut.first):
        if not loss.may_be_a_mark:
            got = (
                f"its archive, table {table}, lacks {loss.first} to {loss.end - 1}, which a start of {_job(topic)} gave up (--accept-loss)"
            )
            cut.refuse(got, "build the read model from a new topic")


def _job(topic: str) -> str:
    return next(job for job, topics in ARCHIVED.items() if topic in topics)


def _remedy(cut: Cut) -> str:
    job = _job(cut.place[0])
    return (
        f"see that {job} runs (`./streamhouse submit {job}`), and start again when it has archived a record from offset {cut.first} on,"
        " which shows that it left none out before"
    )


def _look_through(settings: Settings, cut: Cut, table: str, pinned: int, receipts: NDArray[np.int64]) -> None:
    """Refuse a stretch of which the table holds an offset twice or fewer records than were once added to it, by its offsets alone."""
    partition = cut.place[1]
    first, last, added = receipts.T
    held, rows, before = np.zeros(len(receipts), np.int64), 0, -1
    start, stop = min([cut.following, *first.tolist()]), max([cut.end - 1, *last.tolist()]) + 1
    for piece in read_log(settings, table, partition, start, stop, ["topic_offset"], pinned):
        offsets = piece.column("topic_offset").to_numpy()
        twice = np.flatnonzero(np.diff(offsets, prepend=before) == 0)
        if len(twice):
            cut.refuse(
                f"its archive, table {table}, holds offset {offsets[twice[0]]} more than once",
                "take the rows out that no job wrote: `./streamhouse audit` names them",
            )
        before = int(offsets[-1])
        held += np.searchsorted(offsets, last, "right") - np.searchsorted(offsets, first, "left")
        rows += int(np.searchsorted(offsets, cut.end) - np.searchsorted(offsets, cut.following))
    for i in np.flatnonzero(held < added)[:1].tolist():
        cut.refuse(
            f"its archive, table {table}, has {held[i]} of the {added[i]} records that were added to it at offsets {first[i]} to {last[i]}",
            "bring the rest back into the table: `./streamhouse audit` tells what became of them",
        )
    log.info(
        "projection %s reads %d records of partition %d of %s, offsets %d to %d, from its archive; %d offsets there have no row: ends of"
        " transactions, records that were taken back; that none was lost before it was archived is not proven",
        *(cut.projection, rows, partition, cut.place[0], cut.following, cut.end - 1, cut.end - cut.following - rows),
    )


def _records(rows: pa.RecordBatch) -> list[ArchivedRecord]:
    times = pc.cast(rows.column("kafka_time"), pa.timestamp("ms", "UTC"), safe=False).cast(pa.int64())
    columns = (
        rows.column("topic_offset").to_pylist(),
        python_values(rows.column("value")),
        [headers or () for headers in rows.column("headers").to_pylist()],
        times.to_pylist(),
    )
    return [ArchivedRecord(*values) for values in zip(*columns, strict=True)]
