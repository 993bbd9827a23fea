"""Whether the receipts of a table's snapshots form one chain: ranges that meet, rewrites that keep, parents that are there."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from lakehouse.receipts import APPEND, EXPIRED, REPLACE, Receipt


class Kind(StrEnum):
    """What is broken. GAP and SPARSE may be control or aborted records, which the topic tells; the rest is never right."""

    GAP = "gap"  # offsets between two appends, or before the first, that no snapshot holds
    SPARSE = "sparse"  # an append with fewer records than offsets from its first to its last
    OVERLAP = "overlap"  # offsets in the ranges of two appends
    CROWDED = "crowded"  # an append with more records than offsets
    REWRITE = "rewrite"  # removed files whose bounds and records the added ones do not keep
    OPERATION = "operation"  # a commit that neither appends nor replaces
    LINK = "link"  # a snapshot that does not follow the one before it
    EXPIRED = "expired"  # a snapshot of which only files still live are known
    TWICE = "twice"  # a second receipt of one snapshot and partition


@dataclass(frozen=True)
class Break:
    """One place where the chain is broken.

    `first` and `last`: the offsets concerned, inclusive. `before` and `after`: the snapshots between which it lies; equal
    where it lies in one. `count`: offsets without a record for GAP and SPARSE, records or offsets too many for CROWDED and
    OVERLAP, records lost (below zero: gained) for REWRITE, records removed for OPERATION, snapshots without a receipt for
    LINK (0 or less: one that has a rival), receipts too many for TWICE, records still known for EXPIRED.
    """

    kind: Kind
    table: str
    partition: int | None
    first: int | None
    last: int | None
    before: int | None
    after: int
    count: int

    @property
    def asks_topic(self) -> bool:
        """Whether it is right where the topic has no committed record at these offsets."""
        return self.kind in (Kind.GAP, Kind.SPARSE)

    def __str__(self) -> str:
        place = f"table {self.table}" + ("" if self.partition is None else f", partition {self.partition}")
        return f"{place}: {self._sentence()}"

    def _sentence(self) -> str:
        offsets, after = f"offsets {self.first}-{self.last}", f"snapshot {self.after}"
        between = f"between snapshots {self.before} and {self.after}" if self.before else f"before {after}"
        match self.kind:
            case Kind.GAP:
                return f"{offsets} are in no snapshot, {between}"
            case Kind.SPARSE:
                return f"{self.count} of {offsets} have no record in {after}"
            case Kind.OVERLAP:
                return f"{offsets} are in snapshot {self.before} and again in {after}"
            case Kind.CROWDED:
                return f"{after} added {self.count} records more than there are {offsets}"
            case Kind.REWRITE:
                return f"{after} rewrote files and did not keep their bounds and records: {offsets}, {self.count} records fewer"
            case Kind.OPERATION:
                return f"{after} neither appended nor rewrote; it removed {self.count} records"
            case Kind.LINK if self.count > 0:
                return f"{self.count} snapshots have no receipt, {between}"
            case Kind.LINK:
                return f"{after} does not follow snapshot {self.before}, as its number says"
            case Kind.EXPIRED:
                return f"{after} expired before it was recorded; {self.count} of its records are known from live files"
            case Kind.TWICE:
                return f"{after} has {self.count} receipts too many"


def broken(receipts: Iterable[Receipt]) -> list[Break]:
    """Where the receipts of one or more tables do not form one chain; empty where they do.

    Links: sorted by sequence number each snapshot's parent is the one before it, the first has none; a snapshot that
    expired before it was recorded is named. Ranges: in each partition the appends' ranges, sorted by offset, meet from
    offset 0 on without gap or overlap; what is known of expired snapshots closes gaps, and proves no overlap, as it may
    be the outcome of a rewrite. Rewrites: bounds and number of records are kept in each partition.
    """
    tables: defaultdict[str, list[Receipt]] = defaultdict(list)
    for receipt in receipts:
        tables[receipt.table].append(receipt)
    found: list[Break] = []
    for table in sorted(tables):
        once, twice = _once(tables[table])
        found += [*twice, *_links(once), *(b for row in once for b in _single(row))]
        partitions: defaultdict[int, list[Receipt]] = defaultdict(list)
        for row in once:
            if row.operation in (APPEND, EXPIRED) and row.first_offset is not None:
                partitions[row.topic_partition].append(row)
        for partition in sorted(partitions):
            found += _ranges(partitions[partition])
    return found


def _once(rows: list[Receipt]) -> tuple[list[Receipt], list[Break]]:
    """The rows by sequence number, one for each snapshot and partition, and which had more."""
    groups: defaultdict[tuple[int, int, int], list[Receipt]] = defaultdict(list)
    for row in rows:
        groups[row.sequence_number, row.snapshot_id, row.topic_partition].append(row)
    twice = [
        _within(Kind.TWICE, rows[0], rows[0].first_offset, rows[0].last_offset, len(rows) - 1) for rows in groups.values() if len(rows) > 1
    ]
    return [groups[key][0] for key in sorted(groups)], twice


def _links(rows: list[Receipt]) -> Iterator[Break]:
    """Whether each snapshot follows the one before it."""
    snapshots = {row.snapshot_id: row for row in rows}
    live: Counter[int] = Counter()
    for row in rows:
        live[row.snapshot_id] += row.records
    number, before = 0, None
    for row in snapshots.values():
        if row.operation == EXPIRED:
            yield Break(Kind.EXPIRED, row.table, None, None, None, row.snapshot_id, row.snapshot_id, live[row.snapshot_id])
        # some writers forget the parent when it expires, and an expired one is not known: then the numbers of the commits tell
        follows = row.sequence_number == number + 1 if row.parent_id is None else row.parent_id == before
        if not follows:
            yield Break(Kind.LINK, row.table, None, None, None, before, row.snapshot_id, row.sequence_number - number - 1)
        number, before = row.sequence_number, row.snapshot_id


def _single(row: Receipt) -> Iterator[Break]:
    """What is wrong with a receipt by itself."""
    if row.operation not in (APPEND, REPLACE, EXPIRED):
        yield _within(Kind.OPERATION, row, row.removed_first, row.removed_last, row.removed_records)
    elif row.operation == REPLACE or row.removed_files:
        if (row.first_offset, row.last_offset, row.records) != (row.removed_first, row.removed_last, row.removed_records):
            ends = [o for o in (row.removed_first, row.removed_last, row.first_offset, row.last_offset) if o is not None]
            first, last = min(ends, default=None), max(ends, default=None)
            yield _within(Kind.REWRITE, row, first, last, row.removed_records - row.records)
    elif row.operation == APPEND:
        first, last = row.first_offset, row.last_offset
        offsets = 0 if first is None or last is None else last - first + 1
        if offsets != row.records:
            yield _within(Kind.SPARSE if offsets > row.records else Kind.CROWDED, row, first, last, abs(offsets - row.records))


def _within(kind: Kind, row: Receipt, first: int | None, last: int | None, count: int) -> Break:
    return Break(kind, row.table, row.topic_partition, first, last, row.snapshot_id, row.snapshot_id, count)


def _ranges(rows: list[Receipt]) -> Iterator[Break]:
    """Gaps and overlaps of one partition's ranges."""
    end, holder = -1, None  # the highest offset so far, and in which snapshot
    appended, appender = -1, None  # the same, of appends alone
    for row in sorted(rows, key=lambda row: (row.first_offset or 0, row.sequence_number)):
        first, last = row.first_offset or 0, row.last_offset or 0
        at = (row.table, row.topic_partition)
        if first > end + 1:
            yield Break(Kind.GAP, *at, end + 1, first - 1, holder, row.snapshot_id, first - end - 1)
        if row.operation == APPEND:
            if first <= appended:
                both = min(last, appended)
                yield Break(Kind.OVERLAP, *at, first, both, appender, row.snapshot_id, both - first + 1)
            if last > appended:
                appended, appender = last, row.snapshot_id
        if last > end:
            end, holder = last, row.snapshot_id
