"""One table, ready to be read: a filter that it can answer, the files of a snapshot, and errors that name what cannot be read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import pyarrow as pa
from pyiceberg.expressions import BooleanExpression
from pyiceberg.expressions.parser import parse
from pyiceberg.expressions.visitors import bind
from pyiceberg.manifest import DataFile
from pyiceberg.table import ALWAYS_TRUE, DataScan, FileScanTask
from pyiceberg.table import Table as IcebergTable

from lakehouse.catalog import past_snapshot
from lakehouse.errors import LakehouseError
from lakehouse.parquet_files import pieces


def columns_held(held: IcebergTable) -> list[str]:
    """The columns of a table as it is now, without their parts."""
    return [field.name for field in held.schema().fields]


def names_at(held: IcebergTable, snapshot_id: int) -> set[str]:
    """The columns that a snapshot has; one that was written before a change of the table has those of then."""
    past = held.snapshot_by_id(snapshot_id)
    schemas = held.schemas()
    return set((held.schema() if past is None or past.schema_id is None else schemas[past.schema_id]).column_names)


def nulls_in(held: IcebergTable, file: DataFile, column: str) -> int | None:
    """In how many rows of a file a column is null, by its metadata; None where that does not say."""
    return (file.null_value_counts or {}).get(held.schema().find_field(column).field_id)


def files_of(held: IcebergTable, scan: DataScan) -> list[FileScanTask]:
    """The files of a scan.

    Raises:
        LakehouseError: what lists them is gone or spoilt.

    """
    try:
        return list(scan.plan_files())
    except Exception as error:  # the readers of manifests raise types of their own
        message = f"table {'.'.join(held.name())}: expected its manifests as they were written, got {error!r}; bring back {held.location()}"
        raise LakehouseError(message) from error


@contextlib.contextmanager
def reading(held: IcebergTable, scan: DataScan, tasks: Sequence[FileScanTask] | None = None) -> Iterator[None]:
    """Name the data file that cannot be read, which PyIceberg does not."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        names = columns_held(held) if "*" in scan.selected_fields else list(scan.selected_fields)
        for task in files_of(held, scan) if tasks is None else tasks:
            for _ in pieces(held, task.file.file_path, names, plain=False):
                pass  # until one says of itself that it cannot be read
        message = f"table {'.'.join(held.name())}: expected data files that can be read, got: {error}; see `./streamhouse audit`"
        raise LakehouseError(message) from error


def scan_of(
    held: IcebergTable,
    name: str,
    columns: Sequence[str] | None,
    where: str | None,
    snapshot_id: int | None,
    limit: int | None = None,
) -> DataScan:
    """What is to be read of a table.

    Raises:
        LakehouseError: no such column or snapshot, or a filter that cannot be read.

    """
    if snapshot_id is not None:
        past_snapshot(held, name, snapshot_id)
    if unknown := [column for column in columns or () if column not in held.schema().column_names]:
        known = ", ".join(held.schema().column_names)
        message = f"table `{name}`: expected columns among {known}, got {unknown[0]!r}; correct the name"
        raise LakehouseError(message)
    return held.scan(
        row_filter=condition(held, name, where) if where else ALWAYS_TRUE,
        selected_fields=("*",) if columns is None else tuple(columns),
        snapshot_id=snapshot_id,
        limit=limit,
    )


def condition(held: IcebergTable, name: str, where: str) -> BooleanExpression:
    """A filter of the table.

    Raises:
        LakehouseError: it cannot be read, or names what the table has not.

    """
    try:
        parsed = parse(where)
        bind(held.schema(), parsed, case_sensitive=True)  # now, where a wrong name can be said
    except Exception as error:  # the filter's grammar raises types of its own
        message = f'table `{name}`: expected a filter such as "score > 0.5", got {where!r}: {error}; correct `where`'
        raise LakehouseError(message) from error
    return parsed


def stretch(by: tuple[str, str], partition: int, start: int, stop: int) -> BooleanExpression:
    """Rows of a partition with `start <= offset < stop`, by the columns that hold the two."""
    return parse(f"{by[0]} = {partition:d} and {by[1]} >= {start:d} and {by[1]} < {stop:d}")
