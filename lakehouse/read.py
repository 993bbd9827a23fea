"""Tables as Arrow: what notebooks, training and rebuilds read. Every read is of one snapshot, named or the newest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import BooleanExpression
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.table import ALWAYS_TRUE, DataScan, FileScanTask
from pyiceberg.table import Table as IcebergTable
from pyiceberg.types import IntegerType, LongType, PrimitiveType

from infra.config import Settings
from lakehouse.catalog import load_table, open_catalog
from lakehouse.errors import LakehouseError
from lakehouse.filled_log import Filling, filling_of, prunes
from lakehouse.filled_read import filled_batches, filled_in
from lakehouse.log_files import POSITION, LogFiles, in_log_order
from lakehouse.parquet_files import log_schema, unreadable
from lakehouse.scans import files_of, nulls_in, reading, scan_of, stretch

_LONG = LongType()
_LOG_ROWS = 20_000
# decoded bytes, whatever they are packed into: what bounds the memory of `read_log`
_LOG_BYTES = 16 << 20  # in one step
_OPEN_BYTES = 64 << 20  # in the files that are open whole
_UNLIMITED = 1 << 62


def read(
    settings: Settings,
    table: str,
    columns: Sequence[str] | None = None,
    where: str | None = None,
    snapshot_id: int | None = None,
    limit: int | None = None,
) -> pa.Table:
    """Rows of a table, in no promised order, in memory.

    A column that a contract gained holds what the archived values say, for rows also that were archived before it was there.

    `columns`: the ones to read, all by default. `where`: a filter such as `score > 0.5 and user_id = 'u'`, which also
    prunes files. `snapshot_id`: a past state, as `snapshot` gave it. `limit`: at most so many rows.

    Raises:
        LakehouseError: no such table, column or snapshot, or a filter that cannot be read.

    """
    with open_catalog(settings) as catalog:
        held = load_table(catalog, settings, table)
        if missing := filled_in(held, table, columns, where):
            rows = pa.concat_tables(filled_batches(settings, held, table, columns, where, snapshot_id, missing))
            return rows if limit is None else rows.slice(0, limit)
        scan = scan_of(held, table, columns, where, snapshot_id, limit)
        with reading(held, scan):
            return scan.to_arrow()


def read_batches(
    settings: Settings,
    table: str,
    columns: Sequence[str] | None = None,
    where: str | None = None,
    snapshot_id: int | None = None,
) -> Iterator[pa.RecordBatch]:
    """As `read`, a batch at a time for tables larger than memory."""
    with open_catalog(settings) as catalog:
        held = load_table(catalog, settings, table)
        if missing := filled_in(held, table, columns, where):
            for rows in filled_batches(settings, held, table, columns, where, snapshot_id, missing):
                yield from rows.to_batches()
            return
        scan = scan_of(held, table, columns, where, snapshot_id)
        with reading(held, scan):
            yield from scan.to_arrow_batch_reader()


def snapshot(settings: Settings, table: str) -> int | None:
    """The id of the newest snapshot, to read the same state again; None while the table is empty."""
    with open_catalog(settings) as catalog:
        newest = load_table(catalog, settings, table).current_snapshot()
        return None if newest is None else newest.snapshot_id


def count_rows(settings: Settings, table: str) -> int:
    """How many rows the newest snapshot holds, by its own summary: as quick for a large table as for a small one."""
    with open_catalog(settings) as catalog:
        newest = load_table(catalog, settings, table).current_snapshot()
        return 0 if newest is None or newest.summary is None else int(newest.summary["total-records"] or 0)


def log_ends(settings: Settings, table: str, snapshot_id: int | None = None) -> dict[int, tuple[int, int]]:
    """For each topic partition in an archive table: its first offset and the one after its last; by metadata."""
    with open_catalog(settings) as catalog:
        held = load_table(catalog, settings, table)
        ends: dict[int, tuple[int, int]] = {}
        for task in files_of(held, scan_of(held, table, ("topic_offset",), None, snapshot_id)):
            low, high = offsets(held, task.file)
            partition = int(task.file.partition[0])
            first, end = ends.get(partition, (low, high + 1))
            ends[partition] = min(first, low), max(end, high + 1)
        return ends


def read_log(
    settings: Settings,
    table: str,
    partition: int,
    from_offset: int,
    to_offset: int,
    columns: Sequence[str] | None = None,
    snapshot_id: int | None = None,
    *,
    by: tuple[str, str] = POSITION,
    leave_out_unreadable: bool = False,
    as_stored: bool = False,
) -> Iterator[pa.RecordBatch]:
    """The records of one topic partition in offset order, from `from_offset` up to but not including `to_offset`.

    `by`: other columns that hold a partition and an offset, as those of the action that a prediction answers.

    The whole answer is of one snapshot, in the columns and types that the table has today; one that came later is null. Memory stays
    bounded: offsets are taken in steps of at most 20,000 records, fewer where they unfold to more than 16 MiB, and each step opens only
    the files whose offsets it meets, small ones once for all steps. Offsets that a topic skips (transaction markers) are skipped here; a
    row that the table holds twice comes twice. With `leave_out_unreadable` rows of a data file that is gone or spoilt are skipped, too.
    Columns are filled in as by `read`, but not `as_stored`.
    """
    inside = stretch(by, partition, from_offset, to_offset)
    with open_catalog(settings) as catalog:
        held = load_table(catalog, settings, table)
    how = {"leave_out_unreadable": leave_out_unreadable, "as_stored": as_stored}
    plan = _planned(settings, held, table, columns, snapshot_id, by, None, inside, **how)
    yield from read_planned(plan, partition, from_offset, to_offset)


@dataclass(frozen=True)
class LogPlan:
    """The files of a table as of one snapshot, for many readings of parts of it: to list them takes longer than to read a few.

    `projection`: what is read, as the table has it today, also of a snapshot before a change: files know columns by id. `files`: lowest
    and highest partition and offset in each, and the file. `filling`: None where rows are read as they lie.
    """

    held: IcebergTable
    scan: DataScan
    projection: Schema
    columns: tuple[str, ...] | None
    by: tuple[str, str]
    files: tuple[tuple[int, int, int, int, FileScanTask], ...]
    filling: Filling | None = None

    def filled(self, rows: pa.Table) -> pa.Table:
        """What `scan` reads of a file, as it is read of all others."""
        return rows.cast(log_schema(self.projection)) if self.filling is None else self.filling(rows).cast(self.filling.types)

    def asked(self, rows: pa.Table) -> pa.Table:
        """The columns that were asked for."""
        return rows if self.columns is None else rows.select(list(self.columns))

    @property
    def schema(self) -> pa.Schema:
        """Of the rows that it gives."""
        schema = log_schema(self.projection) if self.filling is None else self.filling.types
        return schema if self.columns is None else pa.schema([schema.field(name) for name in self.columns])


def plan_log(
    settings: Settings,
    table: str,
    columns: Sequence[str] | None,
    snapshot_id: int,
    *,
    by: tuple[str, str] = POSITION,
    files_with: str | None = None,
) -> LogPlan:
    """List the files of a table for `read_planned`; arguments as in `read_log`.

    `files_with`: a filter by which whole files are left out, none by a column that may have to be filled in; all rows of the others come.
    """
    with open_catalog(settings) as catalog:
        held = load_table(catalog, settings, table)
    return _planned(settings, held, table, columns, snapshot_id, by, files_with, ALWAYS_TRUE)


def _planned(
    settings: Settings,
    held: IcebergTable,
    table: str,
    columns: Sequence[str] | None,
    snapshot_id: int | None,
    by: tuple[str, str],
    files_with: str | None,
    inside: BooleanExpression,
    *,
    leave_out_unreadable: bool = False,
    as_stored: bool = False,
) -> LogPlan:
    files_with = files_with if files_with and prunes(held, table, files_with) else None
    wanted = None if columns is None else [*columns, *({by[1]} - set(columns))]
    scan = scan_of(held, table, wanted, None, snapshot_id)
    tasks = files_of(held, scan_of(held, table, wanted, files_with, snapshot_id).filter(inside))
    filling = None if as_stored else filling_of(settings, held, table, columns, by, snapshot_id, tasks)
    read = wanted if filling is None else filling.read
    projection = held.schema() if read is None else held.schema().select(*read)
    # a file without a place has no bounds of it; a filter that says so takes longer than all other listing
    placed = [task for task in tasks if not any(nulls_in(held, task.file, column) == task.file.record_count for column in by)]
    there = [task for task in placed if not leave_out_unreadable or unreadable(held, task.file.file_path) is None]
    files = tuple((*offsets(held, task.file, by[0], IntegerType()), *offsets(held, task.file, by[1]), task) for task in there)
    return LogPlan(held, scan, projection, None if columns is None else tuple(columns), by, files, filling)


def read_planned(plan: LogPlan, partition: int, from_offset: int, to_offset: int) -> Iterator[pa.RecordBatch]:
    """As `read_log`, from files that were listed before."""
    held, by = plan.held, plan.by
    files = sorted(
        (low, high, i, task)
        for i, (first, last, low, high, task) in enumerate(plan.files)
        if first <= partition <= last and low < to_offset and high >= from_offset
    )
    if not files:
        return
    end = min(to_offset, max(high for _, high, _, _ in files) + 1)
    start = max(from_offset, files[0][0])
    step = _step([task for *_, task in files])
    whole = LogFiles(held, plan.projection, partition, _OPEN_BYTES, by, plan.filling)
    while start < end:
        stop = min(start + step, end)
        meeting = [(i, task) for low, high, i, task in files if low < stop and high >= start]
        if not all(whole.holds(i) for i, _ in meeting):
            whole.open((i, task) for *_, i, task in files)  # and what comes next, as far as there is room
        parts = _parts(plan, whole, meeting, partition, start, stop)
        if parts is None:
            step = max(1, (stop - start) // 4)
            continue
        rows = in_log_order(parts, by[1]).combine_chunks()
        yield from plan.asked(rows).to_batches(_LOG_ROWS)
        if 2 * len(rows) <= _LOG_ROWS and 2 * rows.nbytes <= _LOG_BYTES:
            step = min(_LOG_ROWS, 2 * step)
        for _, high, i, _ in files:
            if high < stop:
                whole.close(i)
        files = [file for file in files if file[1] >= stop]
        start = max(stop, min((low for low, *_ in files), default=end))


def _parts(
    plan: LogPlan, whole: LogFiles, files: list[tuple[int, FileScanTask]], partition: int, start: int, stop: int
) -> list[pa.Table] | None:
    """What each of the files has of a step, the ones with deletes together; None when it is too much for one step."""
    room, rows = (_LOG_BYTES, _LOG_ROWS) if stop - start > 1 else (_UNLIMITED, _UNLIMITED)
    parts: list[pa.Table] = []
    deletes = [task for _, task in files if task.delete_files]
    for i, task in files:
        if task.delete_files:
            continue
        part = whole.rows(i, start, stop)
        if part is None:
            part = whole.piecewise(i, task, start, stop, room)
        if part is None or (weight := whole.weight(i, part)) > room or len(part) > rows:
            return None
        room, rows = room - weight, rows - len(part)
        parts.append(part)
    if deletes:  # only Iceberg's own reader knows which rows are gone
        parts.append(_rows(plan, deletes, stretch(plan.by, partition, start, stop)))
        if parts[-1].nbytes > room or len(parts[-1]) > rows:
            return None
    return parts


def _rows(plan: LogPlan, tasks: list[FileScanTask], inside: BooleanExpression) -> pa.Table:
    held = plan.held
    # the residual of a planned file was computed for the whole range; this step asks for less
    narrowed = [FileScanTask(task.file, task.delete_files, inside) for task in tasks]
    with reading(held, plan.scan, tasks):
        rows = ArrowScan(held.metadata, held.io, plan.projection, inside, case_sensitive=True).to_table(narrowed)
    return plan.filled(rows)


def _step(tasks: list[FileScanTask]) -> int:
    """How many offsets to begin with: what the files take as they lie is the least that they unfold to."""
    rows = sum(task.file.record_count for task in tasks) or 1
    mean = sum(task.file.file_size_in_bytes for task in tasks) / rows
    return max(1, min(_LOG_ROWS, int(_LOG_BYTES / max(mean, 1))))


def offsets(held: IcebergTable, file: DataFile, column: str = POSITION[1], kind: PrimitiveType = _LONG) -> tuple[int, int]:
    """First and last offset, or partition, in a file of an archive table, by its metadata.

    Raises:
        LakehouseError: its metadata has no bounds of the column.

    """
    field = held.schema().find_field(column).field_id
    low, high = file.lower_bounds.get(field), file.upper_bounds.get(field)
    if low is None or high is None:
        message = f"file {file.file_path}: expected bounds of {column}, got none; rewrite it with column metrics"
        raise LakehouseError(message)
    return int(from_bytes(kind, low)), int(from_bytes(kind, high))
