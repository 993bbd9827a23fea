"""Tables against themselves and their receipts: no file twice, files as their metadata says, a chain of receipts that adds up."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from infra.config import Settings
from jobs.audit.gaps import Held
from jobs.audit.pins import PinnedTopic
from jobs.audit.rows import Side, alien
from jobs.findings import Finding, Findings, Unproven
from jobs.table_log import END, TableLog
from lakehouse.chain import Break, Kind, broken
from lakehouse.ledger import ledger
from lakehouse.measured import MeasuredFile, measured_files
from lakehouse.receipts import APPEND, Receipt


@dataclass
class Measured:
    """What a table's files came to."""

    table: str
    files: list[MeasuredFile] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)
    unproven: list[Unproven] = field(default_factory=list)


def measure(settings: Settings, topic: PinnedTopic) -> Measured:
    """Read the positions of every row of the pinned snapshot, and the receipts up to it."""
    measured = Measured(topic.table)
    if topic.snapshot_id is None:
        return measured
    measured.files = list(measured_files(settings, topic.table, topic.snapshot_id))
    receipts = ledger(settings, topic.table)
    pinned = max((receipt.sequence_number for receipt in receipts if receipt.snapshot_id == topic.snapshot_id), default=0)
    measured.receipts = [receipt for receipt in receipts if receipt.sequence_number <= pinned]
    for file in measured.files:
        measured.findings.extend(_file(topic.table, file))
    measured.findings.extend(_sums(topic.table, measured.files, measured.receipts))
    measured.findings.extend(_strangers(settings, topic, measured.files))
    return measured


def judge(topic: PinnedTopic, measured: Measured, held: Mapping[int, Held]) -> Measured:
    """Whether the receipts form one chain; what only the topic can tell is asked of `held`, by partition."""
    for found in broken(measured.receipts):
        partition = -1 if found.partition is None else found.partition
        unproven, sentence = _judged(found, held.get(partition))
        if sentence is None:
            continue
        if unproven:
            measured.unproven.append(Unproven(topic.table, partition, found.first or 0, found.last or 0, sentence))
        else:
            measured.findings.add(Finding(topic.table, f"receipt_{found.kind}", partition, found.first, sentence))
    return measured


def _judged(found: Break, held: Held | None) -> tuple[bool, str | None]:
    """Whether a break in the chain is unproven rather than wrong, and what to say of it; None where it is right."""
    if found.kind == Kind.EXPIRED or (found.kind == Kind.LINK and found.count > 0):
        return True, f"{found}: that its rows were complete when it was committed is not proven"
    if not found.asks_topic or held is None or found.first is None or found.last is None:
        return False, str(found)
    told = held.told(found.first, found.last)
    if found.kind == Kind.GAP and told.committed:
        first = held.first_committed(found.first, found.last)
        return False, f"{found}; the topic holds {told} there, the first committed one at offset {first}"
    if found.kind == Kind.GAP and found.last >= held.end:
        return False, f"{found}; the topic ends before offset {held.end}"
    if told.not_retained:
        return True, f"{found}; the topic begins at offset {held.low}: that none of those before it held a record is not proven"
    if found.kind == Kind.SPARSE and told.aborted + told.neither != found.count:
        return False, f"{found}; the topic holds {told} there"
    return False, None


def _strangers(settings: Settings, topic: PinnedTopic, files: Sequence[MeasuredFile]) -> Iterator[Finding]:
    """Rows of partitions that the topic does not have; no strand comes by them."""
    there = {pin.partition for pin in topic.partitions}
    for partition in sorted({partition for file in files for partition in file.found} - there):
        side = Side(topic.name, topic.table, partition, 0)
        log = TableLog(settings, topic.table, partition, topic.snapshot_id, ["topic_offset"], leave_out_unreadable=True)
        for rows in log.pieces_below(END):
            for offset in rows["topic_offset"].to_pylist():
                yield alien(side, offset, f"partitions 0 to {max(there)} alone")


def _file(table: str, file: MeasuredFile) -> list[Finding]:
    findings = []
    if file.times > 1:
        sentence = (
            f"table {table}, partition {file.partition}: its newest snapshot names {file.path} {file.times} times,"
            f" so its {file.records} rows (offsets {file.first}-{file.last}) are read as often"
        )
        findings.append(Finding(table, "file_twice", file.partition, file.first, sentence))
    if file.unreadable:
        sentence = (
            f"table {table}, {file.path}: its newest snapshot names it, and it {file.unreadable}:"
            f" partition {file.partition}, {file.records} rows, offsets {file.first}-{file.last}"
        )
        findings.append(Finding(table, "file_unreadable", file.partition, file.first, sentence))
    elif not file.is_as_said:
        found = "; ".join(f"partition {p}: {n} rows, offsets {low}-{high}" for p, (low, high, n) in sorted(file.found.items())) or "no rows"
        sentence = (
            f"table {table}, {file.path}: expected partition {file.partition}: {file.records} rows, offsets {file.first}-{file.last},"
            f" as its metadata says, got {found}"
        )
        findings.append(Finding(table, "file_not_as_said", file.partition, file.first, sentence))
    return findings


def _sums(table: str, files: Sequence[MeasuredFile], receipts: Sequence[Receipt]) -> list[Finding]:
    """Receipts whose files all live against their rows, and all receipts together against all rows."""
    rows: Counter[int] = Counter()
    added: dict[tuple[int, int], list[MeasuredFile]] = defaultdict(list)
    for file in files:
        for partition, (_, _, count) in file.found.items():
            rows[partition] += count * file.times
        added[file.adder, file.partition].append(file)
    said: Counter[int] = Counter()
    findings = []
    for receipt in receipts:
        said[receipt.topic_partition] += receipt.records - receipt.removed_records
        live = added[receipt.snapshot_id, receipt.topic_partition]
        count = sum(count for file in live for _, _, count in file.found.values())
        if (
            receipt.operation == APPEND
            and len(live) == receipt.files
            and all(file.times == 1 for file in live)
            and count != receipt.records
        ):
            sentence = (
                f"table {table}, partition {receipt.topic_partition}: the receipt of snapshot {receipt.snapshot_id} says {receipt.records}"
                f" records, offsets {receipt.first_offset}-{receipt.last_offset}, its files hold {count} rows"
            )
            findings.append(Finding(table, "receipt_not_as_rows", receipt.topic_partition, receipt.first_offset, sentence))
    if any(found.kind in (Kind.LINK, Kind.EXPIRED) for found in broken(receipts)):
        return findings  # receipts are missing, so the rest cannot add up
    for partition in sorted((said.keys() | rows.keys()) - {-1}):
        if said[partition] != rows[partition]:
            sentence = (
                f"table {table}, partition {partition}: its receipts add up to {said[partition]} records, it holds {rows[partition]} rows"
            )
            findings.append(Finding(table, "receipts_not_as_rows", partition, None, sentence))
    return findings
