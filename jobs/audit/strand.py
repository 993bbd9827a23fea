"""One topic partition from its first record to its pinned end, beside its table: what a worker process does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from infra.config import Settings
from infra.contracts.columns import Extractor
from infra.contracts.decisions import NOTHING, Decisions
from infra.contracts.events import SHAPE
from infra.contracts.framing import is_framed
from infra.contracts.in_effect import Contract
from jobs.archive_columns import COLUMNS, ENVELOPE
from jobs.archive_rows import Row
from jobs.audit.answers import Order, actions, answers, event_prints, misplaced, rescore
from jobs.audit.gaps import Held, Holes, Runs, Told, concatenated, inside
from jobs.audit.pins import ACTIONS, ANSWER_NAME, ANSWERS, PREDICTIONS, REPLAYS, Pin
from jobs.audit.replays import Note, Replay, notes_of, replays_of
from jobs.audit.rows import Compared, Side, alien, compare, typed_rows, whose
from jobs.audit.spill import Rows, Spill
from jobs.audit.topic_log import Step, archived_step, steps
from jobs.audit.uncommitted import Uncommitted
from jobs.findings import Finding, Findings, Unproven
from jobs.framed_records import readable_at
from jobs.published_models import PublishedModels
from jobs.scoring_parts import models_folder
from jobs.table_log import END, TableLog
from lakehouse.held_columns import columns_of


@dataclass(frozen=True)
class Work:
    """What a strand needs to know. `partitions` of its topic; `action_ends`: the pinned end of each partition of the source topic."""

    pin: Pin
    partitions: int
    table: str
    snapshot_id: int | None
    action_ends: dict[int, int]
    event_bits: int
    contract: Contract
    schemas: Decisions = NOTHING


@dataclass
class Strand:
    """What a strand came to. Offsets by action partition: `last` answered, `kept_first` in the topic, `cut_last` in the table alone.

    `held` tells aborted records from the rest below the table's last row alone: what lies behind it is still on its way.
    """

    pin: Pin
    held: Held
    records: int = 0
    rows_alone: int = 0
    without_row: Told = field(default_factory=Told)
    beyond: int = 0
    first_beyond: int = END
    findings: Findings = field(default_factory=Findings)
    unproven: list[Unproven] = field(default_factory=list)
    order: Order = field(default_factory=Order)
    kept_first: dict[int, int] = field(default_factory=dict)
    cut_last: dict[int, int] = field(default_factory=dict)
    replays: list[Replay] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


def follow(settings: Settings, work: Work, spill: Spill, passed: Callable[[int], None]) -> Strand:
    """Read it all. `passed` is told how many offsets are done with.

    Raises:
        NotAuditable: the broker does not answer, or retention cut the topic meanwhile.

    """
    pin = work.pin
    holes, aborted = Holes(pin.low), list[Runs]()
    strand = Strand(pin, Held(pin.low, pin.end, holes.runs, concatenated(aborted)))
    compared = Compared()
    held_end = 0 if pin.held is None else pin.held[1]
    there = columns_of(settings, work.table, work.snapshot_id)
    in_parts = frozenset(name for name, column in there.fields.items() if column.has_parts)
    side = Side(pin.topic, work.table, pin.partition, held_end, there.from_value, in_parts)
    # as the table says, which keeps fields that neither the contract files of this code nor the contract in effect may name
    fields = Extractor(list(there.fields.values())) if there.fields else work.contract.newest.columns
    user = there.called(SHAPE, ["userId"])["userId"]
    typed_names = [name for name in (fields.names if pin.topic == ACTIONS else COLUMNS[pin.topic]) if name in there.names]
    columns = ["topic_offset", "key", "value", "headers", "kafka_time", "event_time", *ENVELOPE, *typed_names]
    table = TableLog(
        settings, work.table, pin.partition, work.snapshot_id, columns, leave_out_unreadable=True, as_stored=True
    )  # what cannot be read: see files.py
    models = PublishedModels(models_folder(settings))

    def take(step: Step, rows: pa.Table, *, is_cut: bool) -> None:
        typed = typed_rows(pin.topic, _plain(step, work), work.contract, fields)
        compare(side, step, typed, rows, compared)
        _take(strand, work, spill, step, typed, user, models, is_cut=is_cut)

    seen = pin.begins
    if pin.low > 0:
        for rows in table.pieces_below(pin.low):
            step = archived_step(_single(rows))
            take(step, rows, is_cut=True)
            strand.rows_alone += len(step)
            passed(int(step.offset[-1]) + 1 - seen)
            seen = int(step.offset[-1]) + 1
        strand.unproven.append(_cut(pin, work.table, strand.rows_alone))
    with closing(Uncommitted(settings, pin.topic, pin.partition)) as uncommitted:
        for step in steps(settings, pin.topic, pin.partition, pin.low, pin.end):
            last = int(step.offset[-1]) + 1
            take(step, table.below(last), is_cut=False)
            strand.records += len(step)
            aborted.append(uncommitted.records(_before(held_end, holes.add(step.offset))))
            passed(last - seen)
            seen = last
        aborted.append(uncommitted.records(_before(held_end, holes.close(pin.end))))
    strand.held = Held(pin.low, pin.end, holes.runs, concatenated(aborted))
    passed(max(0, pin.end - seen))
    for rows in table.pieces_below(END):
        compared.alien += rows["topic_offset"].to_pylist()
    aliens = np.unique(np.array(compared.alien, np.int64))
    strand.without_row = strand.held.without_row(held_end, compared.dropped, aliens, strand.rows_alone)
    strand.beyond, strand.first_beyond = compared.beyond, compared.first_beyond
    strand.findings.merge([compared.findings])
    strand.findings.extend(whose(side, compared))
    strand.findings.extend(_aliens(side, strand.held, aliens))
    return strand


def _plain(step: Step, work: Work) -> Step:
    """With framed actions as the plain JSON that stands in them; None where they were refused."""
    if work.pin.topic != ACTIONS or not any(map(is_framed, step.values)):
        return step
    offsets = step.offset.tolist()
    placed = zip(offsets, step.values, strict=True)
    return replace(step, values=[readable_at(work.schemas, ACTIONS, work.pin.partition, *one) for one in placed])


def _before(offset: int, runs: Runs) -> Runs:
    return runs[runs[:, 0] < offset]


def _take(
    strand: Strand, work: Work, spill: Spill, step: Step, typed: list[Row], user: str, models: PublishedModels, *, is_cut: bool
) -> None:
    pin = work.pin
    if pin.topic == ACTIONS:
        spill.put_actions(pin.partition, actions(step, typed, user))
        spill.put_events(event_prints(typed), work.event_bits, str(pin.partition))
        found, faults = replays_of(pin.partition, step)
        strand.replays += found
        strand.findings.extend(faults)
    elif pin.topic == REPLAYS:
        noted, faults = notes_of(pin.partition, step)
        strand.notes += noted
        strand.findings.extend(faults)
    elif pin.topic in ANSWERS:
        rows, faults = answers(pin.topic, pin.partition, step, typed)
        strand.findings.extend(faults)
        strand.findings.extend(misplaced(pin.topic, step, rows, work.partitions, len(work.action_ends)))
        rows, faults = _to_actions(pin, rows, work.action_ends)
        strand.findings.extend(faults)
        if len(rows):
            spill.put_answers(pin.topic, pin.partition, rows)
            strand.order.add(rows)
            for partition in np.unique(rows["action_partition"]).tolist():
                offsets = rows["offset"][rows["action_partition"] == partition]
                if is_cut:
                    strand.cut_last[partition] = max(strand.cut_last.get(partition, -1), int(offsets.max()))
                else:
                    strand.kept_first[partition] = min(strand.kept_first.get(partition, END), int(offsets.min()))
    if pin.topic == PREDICTIONS:
        strand.findings.extend(rescore(pin.partition, step, typed, models.find))


def _to_actions(pin: Pin, rows: Rows, ends: dict[int, int]) -> tuple[Rows, list[Finding]]:
    """The answers that name a place which the source topic has."""
    end = np.array([ends.get(partition, 0) for partition in rows["action_partition"].tolist()], np.int64)
    fine = (rows["offset"] >= 0) & (rows["offset"] < end)
    name = ANSWER_NAME[pin.topic]
    return rows[fine], [
        Finding(
            pin.topic,
            f"{name.replace(' ', '_')}_without_action",
            pin.partition,
            int(row["lies_at"]),
            f"{name} in {pin.topic}, partition {pin.partition}, offset {row['lies_at']}: it answers"
            f" {ACTIONS} {row['action_partition']}:{row['offset']}, where no action lies",
        )
        for row in rows[~fine]
    ]


def _single(rows: pa.Table) -> pa.Table:
    _, first = np.unique(rows["topic_offset"].to_numpy(), return_index=True)
    return rows if len(first) == len(rows) else rows.take(pa.array(first))


def _cut(pin: Pin, table: str, rows: int) -> Unproven:
    sentence = (
        f"topic {pin.topic}, partition {pin.partition} begins at offset {pin.low}: of what lay before, table {table} holds {rows} rows;"
        " that these are all, and as they were, is not proven"
    )
    return Unproven(pin.topic, pin.partition, 0, pin.low - 1, sentence)


def _aliens(side: Side, held: Held, offsets: NDArray[np.int64]) -> Iterator[Finding]:
    for offset, is_aborted in zip(offsets.tolist(), inside(held.aborted, offsets).tolist(), strict=True):
        why = "the record of an aborted transaction" if is_aborted else "no record, committed or aborted"
        if offset >= held.end:
            why = f"only records up to offset {held.end - 1}"
        yield alien(side, offset, why)
