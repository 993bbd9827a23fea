"""The ledger of receipts: the table `receipts`, in which they outlive their snapshots. Any number of processes may write it."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Collection, Iterable
from dataclasses import asdict, fields
from functools import partial
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.io.pyarrow import ArrowScan, _dataframe_to_data_files
from pyiceberg.manifest import DataFile, ManifestFile
from pyiceberg.table import ALWAYS_TRUE, Transaction
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update.snapshot import ExpireSnapshots

from infra.clock import Clock, system_clock
from infra.config import Settings
from lakehouse.append import fitted
from lakehouse.catalog import forgotten, load_table, open_catalog
from lakehouse.errors import LakehouseError
from lakehouse.receipts import APPEND, Receipt, missing_parent, unknown
from lakehouse.tables import ARCHIVES, RECEIPTS

MERGE_FILES = 50
"""The ledger's small files are merged when there are so many, in the commit after; each call of `record` adds at most one."""

FULL_ROWS = 50_000
"""A file with so many receipts is merged no more: a merge stays as quick as the ledger grows."""

KEPT_MS = 3_600_000
"""How long a state of the ledger can be read after it was replaced: a reader is done by then."""

_TRIES = 20


def record(settings: Settings, clock: Clock = system_clock) -> int:
    """Copy the receipts that the ledger lacks, of every archive table, in one commit; how many they were.

    Done again, it adds nothing. Several processes may do it at once: a commit holds only for the very state of the ledger
    that was read, whoever comes second reads it again. A receipt that cannot be had any more stays away; then `broken`
    names the missing link. Old states of the ledger itself are deleted as KEPT_MS says, files of other tables never.

    Raises:
        LakehouseError: a table does not exist, its metadata cannot be read, or others are always faster.

    """
    with open_catalog(settings) as catalog:
        for _ in range(_TRIES):
            book = load_table(catalog, settings, RECEIPTS.name)
            new: list[Receipt] = []
            for table in _made(catalog, settings):
                new += unknown(catalog, settings, table, partial(_recorded, book, table))
            if not new:
                return 0
            if _commit(book, fitted(RECEIPTS.name, _rows(new))):
                _merge(book, clock())
                return len(new)
    message = f"table `{RECEIPTS.name}`: expected a commit within {_TRIES} tries, others were faster each time; let fewer processes record"
    raise LakehouseError(message)


def _made(catalog: Catalog, settings: Settings) -> list[str]:
    """The archive tables, but for those that a newer version declares and `apply` has yet to make."""
    there = {name for *_, name in catalog.list_tables(settings.lake.namespace)}
    return [name for name in ARCHIVES if name in there or forgotten(settings, name)]


def ledger(settings: Settings, table: str) -> list[Receipt]:
    """Every receipt of an archive table by sequence number and partition: those recorded, and those not recorded yet.

    Raises:
        LakehouseError: as `receipts`.

    """
    with open_catalog(settings) as catalog:
        new = unknown(catalog, settings, table, lambda held: _recorded(load_table(catalog, settings, RECEIPTS.name), table, held))
        # read last, as others may record meanwhile; what they did is not told twice
        rows = _receipts(load_table(catalog, settings, RECEIPTS.name).scan(f"table_name = '{table}'").to_arrow())
    recorded = {row.snapshot_id for row in rows}
    rows += [row for row in new if row.snapshot_id not in recorded]
    return sorted(rows, key=lambda row: (row.sequence_number, row.topic_partition))


def appended(settings: Settings, table: str, partition: int, first: int, end: int) -> NDArray[np.int64]:
    """What was ever appended to one topic partition of an archive table and meets the offsets `first <= offset < end`.

    (k, 3): the lowest offset, the highest and how many records, of each append. Only what meets the offsets is in memory.

    Raises:
        LakehouseError: as `receipts`.

    """
    where = f"operation = '{APPEND}' and topic_partition = {partition:d} and last_offset >= {first:d} and first_offset < {end:d}"
    columns = ("first_offset", "last_offset", "records")
    with open_catalog(settings) as catalog:
        new = unknown(catalog, settings, table, lambda held: _recorded(load_table(catalog, settings, RECEIPTS.name), table, held))
        book = load_table(catalog, settings, RECEIPTS.name)  # read last, as in `ledger`
        rows = book.scan(f"table_name = '{table}' and {where}", selected_fields=("snapshot_id", *columns)).to_arrow()
    known = set(rows["snapshot_id"].to_pylist())
    unrecorded = [
        (row.first_offset, row.last_offset, row.records)
        for row in new
        if (row.operation, row.topic_partition) == (APPEND, partition)
        and row.first_offset is not None
        and row.last_offset is not None
        and row.last_offset >= first
        and row.first_offset < end
        and row.snapshot_id not in known
    ]
    recorded = np.column_stack([rows[name].to_numpy() for name in columns])
    return np.concatenate([recorded, np.array(unrecorded, np.int64).reshape(-1, 3)])


def unrecorded(settings: Settings, table: str) -> list[Receipt]:
    """Receipts of an archive table that the ledger has yet to copy; by metadata.

    Raises:
        LakehouseError: as `receipts`.

    """
    with open_catalog(settings) as catalog:
        return unknown(catalog, settings, table, lambda held: _recorded(load_table(catalog, settings, RECEIPTS.name), table, held))


def book(settings: Settings) -> IcebergTable:
    """The ledger as it is now, for many readings.

    Raises:
        LakehouseError: there is none yet.

    """
    with open_catalog(settings) as catalog:
        return load_table(catalog, settings, RECEIPTS.name)


def recorded_at(held: IcebergTable, table: str, partition: int, offset: int) -> list[Receipt]:
    """What a ledger holds of files that were added with this offset of a topic partition, by appends and rewrites; in any order."""
    where = f"table_name = '{table}' and topic_partition = {partition:d} and first_offset <= {offset:d} and last_offset >= {offset:d}"
    return _receipts(held.scan(where).to_arrow())


def _recorded(book: IcebergTable, table: str, held: IcebergTable) -> Collection[int]:
    """Ids of recorded snapshots of a table: from the one before the oldest listed on, all where that one is missing."""
    oldest = min((s.sequence_number or 0 for s in held.snapshots()), default=0)
    ids = _ids(book, table, oldest - 1)
    return _ids(book, table, 0) if missing_parent(held, ids) else ids


def _ids(book: IcebergTable, table: str, sequence: int) -> frozenset[int]:
    scan = book.scan(f"table_name = '{table}' and sequence_number >= {sequence:d}", selected_fields=("snapshot_id",))
    return frozenset(scan.to_arrow()["snapshot_id"].to_pylist())


def _rows(new: Iterable[Receipt]) -> pa.Table:
    rows = pa.Table.from_pylist([asdict(receipt) for receipt in new])
    rows = rows.append_column("commit_time", rows["committed_ms"].cast(pa.int64()).cast(pa.timestamp("ms", "UTC")))
    return rows.append_column("table_name", rows["table"]).drop_columns(["committed_ms", "table"])


def _receipts(rows: pa.Table) -> list[Receipt]:
    rows = rows.append_column("committed_ms", rows["commit_time"].cast(pa.timestamp("ms", "UTC")).cast(pa.int64()))
    rows = rows.append_column("table", rows["table_name"])
    columns = [rows[field.name].to_pylist() for field in fields(Receipt)]
    return [Receipt(*values) for values in zip(*columns, strict=True)]


def _commit(book: IcebergTable, rows: pa.Table, remove: Collection[DataFile] = (), expire: Collection[int] = ()) -> bool:
    """Put rows in the place of files, and forget snapshots, in one commit; False when the ledger has moved on meanwhile."""
    files = list(_dataframe_to_data_files(book.metadata, rows, book.io, uuid.uuid4()))
    transaction = Transaction(book)
    update = transaction.update_snapshot()
    with update.overwrite() if remove else update.fast_append() as change:
        for file in remove:
            change.delete_data_file(file)
        for file in files:
            change.append_data_file(file)
    if expire:
        with ExpireSnapshots(transaction) as expiry:
            expiry.by_ids(list(expire))
    try:
        transaction.commit_transaction()
    except CommitFailedException:  # the table's properties say that this is not tried again
        _delete(book, (file.file_path for file in files))
        return False
    return True


def _merge(book: IcebergTable, now: int) -> None:
    """Where there are many small files, make them one, and delete what no reader can need any more.

    Whoever is killed between the commit and the deleting leaves some small files behind that nothing names.
    """
    newest = book.current_snapshot()
    if newest is None:
        return
    small = [m for m in newest.manifests(book.io) if 0 < _live_rows(m) < FULL_ROWS]
    if len(small) < MERGE_FILES:  # each append has a manifest of its own
        return
    files = [entry.data_file for manifest in small for entry in manifest.fetch_manifest_entry(book.io)]
    paths = {file.file_path for file in files}
    scan = book.scan()
    tasks = [task for task in scan.plan_files() if task.file.file_path in paths]
    rows = ArrowScan(book.metadata, book.io, scan.projection(), ALWAYS_TRUE, case_sensitive=True).to_table(tasks)
    rows = rows.sort_by([(column, "ascending") for column in RECEIPTS.sort])
    history = sorted(book.snapshots(), key=lambda s: s.sequence_number or 0)
    # old is what was replaced long ago, not what was written long ago: the newest may be a day old and is read now
    old = [s for s, after in pairwise(history) if after.timestamp_ms < now - KEPT_MS]
    before = _files(book, old)
    if _commit(book, rows, files, [s.snapshot_id for s in old]):
        _delete(book, before - _files(book, book.snapshots()))


def _live_rows(manifest: ManifestFile) -> int:
    return (manifest.added_rows_count or 0) + (manifest.existing_rows_count or 0)


def _files(book: IcebergTable, snapshots: Iterable[Snapshot]) -> set[str]:
    """Everything that snapshots need: manifest lists, manifests, data files."""
    lists = {s.manifest_list: s for s in snapshots}
    manifests = {m.manifest_path: m for s in lists.values() for m in s.manifests(book.io)}
    data = {entry.data_file.file_path for m in manifests.values() for entry in m.fetch_manifest_entry(book.io)}
    return lists.keys() | manifests.keys() | data


def _delete(book: IcebergTable, paths: Iterable[str]) -> None:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            book.io.delete(path)
