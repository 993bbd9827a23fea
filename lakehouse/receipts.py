"""Which offsets each snapshot of an archive table holds, from the table's metadata alone, and whether they form one chain."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyiceberg.catalog import Catalog
from pyiceberg.manifest import DataFile, ManifestContent, ManifestEntry, ManifestEntryStatus
from pyiceberg.table.snapshots import Snapshot

from infra.config import Settings
from lakehouse.catalog import load_table, open_catalog
from lakehouse.errors import LakehouseError
from lakehouse.read import offsets
from lakehouse.tables import ARCHIVES, declared

if TYPE_CHECKING:
    from pyiceberg.table import Table as IcebergTable

APPEND, REPLACE = "append", "replace"
EXPIRED = "expired"
"""Operation of a snapshot that had expired before it was seen: its row tells of the files that are still live, no more."""

NO_PARTITION = -1
_TRIES = 5


@dataclass(frozen=True)
class Receipt:
    """What one snapshot added to and removed from one topic partition of an archive table.

    Offsets are inclusive, and None where no file says any. A snapshot has a row for each topic partition of which it
    added or removed files; one that did neither has a single row, of partition -1. `operation` is Iceberg's word: Flink's
    sink appends, its upkeep replaces; `expired` (see EXPIRED) has neither parent nor time. `job_id` and `checkpoint_id`
    are what Flink's sink writes into the snapshot.
    """

    table: str
    snapshot_id: int
    parent_id: int | None
    sequence_number: int
    committed_ms: int | None
    operation: str
    job_id: str | None
    checkpoint_id: int | None
    topic_partition: int
    first_offset: int | None
    last_offset: int | None
    records: int
    files: int
    removed_first: int | None
    removed_last: int | None
    removed_records: int
    removed_files: int


@dataclass(frozen=True)
class DoubledFile:
    """A data file that the newest snapshot names more than once: its rows are read as often. Offsets are inclusive."""

    table: str
    path: str
    times: int
    snapshot_ids: tuple[int, ...]
    topic_partition: int
    first_offset: int
    last_offset: int
    records: int

    def __str__(self) -> str:
        by = " and ".join(map(str, self.snapshot_ids))
        return (
            f"table {self.table}, partition {self.topic_partition}: {self.path} with its {self.records} records (offsets"
            f" {self.first_offset}-{self.last_offset}) is named {self.times} times, added by snapshot {by}"
        )


def receipts(settings: Settings, table: str, known: Collection[int] = ()) -> list[Receipt]:
    """The receipts of snapshots whose ids are not in `known`, by sequence number and partition; by metadata.

    They are those of the snapshots that the table's metadata still lists. Where one of these names a parent that is
    neither listed nor known, the live files of such lost snapshots give rows with operation `expired`.

    Raises:
        LakehouseError: no archive table of this name, a file without bounds, or metadata whose files are gone.

    """
    with open_catalog(settings) as catalog:
        return unknown(catalog, settings, table, lambda _: known)


def unknown(catalog: Catalog, settings: Settings, table: str, known: Callable[[IcebergTable], Collection[int]]) -> list[Receipt]:
    """As `receipts`; asks which snapshots are known after the table's state was read, so that none expires unseen between."""
    _check_archive(table)
    for _ in range(_TRIES):
        held = load_table(catalog, settings, table)
        ids = known(held)
        try:
            rows = [row for s in held.snapshots() if s.snapshot_id not in ids for row in _of_snapshot(held, table, s)]
            if missing_parent(held, ids):
                rows += _of_expired(held, table, ids)
        except FileNotFoundError as error:  # the snapshot expired after its table was loaded
            gone = error
            continue
        return sorted(rows, key=lambda row: (row.sequence_number, row.topic_partition))
    message = f"table `{table}`: expected the files that its metadata names, got {gone}; bring them back, or roll the table back"
    raise LakehouseError(message) from gone


def _check_archive(table: str) -> None:
    if table not in ARCHIVES:
        declared(table)
        message = f"table `{table}`: expected an archive table, one of {', '.join(sorted(ARCHIVES))}; only these have receipts"
        raise LakehouseError(message)


def missing_parent(held: IcebergTable, known: Collection[int]) -> bool:
    """Whether a listed snapshot that is not known follows one that is neither listed nor known."""
    listed = {s.snapshot_id for s in held.snapshots()}
    return any(
        (s.sequence_number or 0) > 1 and s.parent_snapshot_id not in listed and s.parent_snapshot_id not in known
        for s in held.snapshots()
        if s.snapshot_id not in known
    )


def doubled_files(settings: Settings, table: str) -> list[DoubledFile]:
    """The data files that the newest snapshot of an archive table names more than once, by path; by metadata.

    Raises:
        LakehouseError: no archive table of this name.

    """
    _check_archive(table)
    with open_catalog(settings) as catalog:
        held = load_table(catalog, settings, table)
        times: Counter[str] = Counter(entry.data_file.file_path for entry in _live(held))
        if times.total() == len(times):
            return []
        doubled: defaultdict[str, list[ManifestEntry]] = defaultdict(list)
        for entry in _live(held):
            if times[entry.data_file.file_path] > 1:
                doubled[entry.data_file.file_path].append(entry)
        return [_doubled(held, table, path, doubled[path]) for path in sorted(doubled)]


def _doubled(held: IcebergTable, table: str, path: str, entries: list[ManifestEntry]) -> DoubledFile:
    file = entries[0].data_file
    ids = tuple(sorted({entry.snapshot_id for entry in entries if entry.snapshot_id is not None}))
    return DoubledFile(table, path, len(entries), ids, _partition(file), *offsets(held, file), file.record_count)


@dataclass
class _Span:
    """The offsets and records of some files of one topic partition."""

    first: int | None = None
    last: int | None = None
    records: int = 0
    files: int = 0

    def take(self, held: IcebergTable, file: DataFile) -> None:
        self.records += file.record_count
        self.files += 1
        if file.record_count:
            low, high = offsets(held, file)
            self.first = low if self.first is None else min(self.first, low)
            self.last = high if self.last is None else max(self.last, high)


def _of_snapshot(held: IcebergTable, table: str, snapshot: Snapshot) -> Iterator[Receipt]:
    added: defaultdict[int, _Span] = defaultdict(_Span)
    removed: defaultdict[int, _Span] = defaultdict(_Span)
    for manifest in snapshot.manifests(held.io):
        touches = manifest.added_files_count != 0 or manifest.deleted_files_count != 0
        if manifest.added_snapshot_id != snapshot.snapshot_id or manifest.content != ManifestContent.DATA or not touches:
            continue
        for entry in manifest.fetch_manifest_entry(held.io, discard_deleted=False):
            # a manifest that was merged also holds what came before
            if entry.snapshot_id == snapshot.snapshot_id and entry.status != ManifestEntryStatus.EXISTING:
                spans = added if entry.status == ManifestEntryStatus.ADDED else removed
                spans[_partition(entry.data_file)].take(held, entry.data_file)
    summary = snapshot.summary
    checkpoint = summary["flink.max-committed-checkpoint-id"] if summary else None
    for partition in sorted(added.keys() | removed.keys()) or [NO_PARTITION]:
        plus, minus = added.get(partition, _Span()), removed.get(partition, _Span())
        yield Receipt(
            table=table,
            snapshot_id=snapshot.snapshot_id,
            parent_id=snapshot.parent_snapshot_id,
            sequence_number=snapshot.sequence_number or 0,
            committed_ms=snapshot.timestamp_ms,
            operation=summary.operation.value if summary else "unknown",
            job_id=summary["flink.job-id"] if summary else None,
            checkpoint_id=None if checkpoint is None else int(checkpoint),
            topic_partition=partition,
            first_offset=plus.first,
            last_offset=plus.last,
            records=plus.records,
            files=plus.files,
            removed_first=minus.first,
            removed_last=minus.last,
            removed_records=minus.records,
            removed_files=minus.files,
        )


def _of_expired(held: IcebergTable, table: str, known: Collection[int]) -> Iterator[Receipt]:
    """What live files tell of the snapshots that added them and are neither listed nor known."""
    seen = {s.snapshot_id for s in held.snapshots()}.union(known)
    spans: defaultdict[tuple[int, int, int], _Span] = defaultdict(_Span)
    for entry in _live(held):
        if entry.snapshot_id is not None and entry.snapshot_id not in seen:
            # a rewrite may keep an older sequence number for the data, never for the file
            key = (entry.file_sequence_number or 0, entry.snapshot_id, _partition(entry.data_file))
            spans[key].take(held, entry.data_file)
    for (sequence, snapshot_id, partition), span in spans.items():
        yield Receipt(
            table=table,
            snapshot_id=snapshot_id,
            parent_id=None,
            sequence_number=sequence,
            committed_ms=None,
            operation=EXPIRED,
            job_id=None,
            checkpoint_id=None,
            topic_partition=partition,
            first_offset=span.first,
            last_offset=span.last,
            records=span.records,
            files=span.files,
            removed_first=None,
            removed_last=None,
            removed_records=0,
            removed_files=0,
        )


def _live(held: IcebergTable) -> Iterator[ManifestEntry]:
    newest = held.current_snapshot()
    for manifest in newest.manifests(held.io) if newest else ():
        if manifest.content == ManifestContent.DATA and (manifest.has_added_files() or manifest.has_existing_files()):
            yield from manifest.fetch_manifest_entry(held.io)


def _partition(file: DataFile) -> int:
    return int(file.partition[0])  # archive tables are partitioned by topic_partition first
