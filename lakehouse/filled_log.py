"""Readings in log order of rows that may hold columns in their value's bytes alone: what is read beside them, of which files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
from pyiceberg.manifest import DataFile
from pyiceberg.table import FileScanTask
from pyiceberg.table import Table as IcebergTable

from infra.config import Settings
from infra.contracts.columns import FieldColumn
from lakehouse.filled_read import filled_in
from lakehouse.from_value import NEEDED, Plain, filled, names, stand_ins
from lakehouse.parquet_files import log_schema
from lakehouse.scans import columns_held, condition, names_at, nulls_in


@dataclass(frozen=True)
class Filling:
    """`columns` are filled in, in rows with what is `read`, of which then `kept` is all; `types`: of these.

    `files`: the paths of those that may have rows to fill; of others what is kept is all that need be read.
    """

    columns: Mapping[str, FieldColumn]
    read: tuple[str, ...]
    types: pa.Schema
    files: frozenset[str]
    plain: Plain

    @property
    def kept(self) -> list[str]:
        """What rows come with."""
        return list(self.types.names)

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Rows with what is read, as those with what is kept."""
        return filled(rows, self.columns, self.types, self.plain).select(self.kept)


def filling_of(
    settings: Settings,
    held: IcebergTable,
    table: str,
    columns: Sequence[str] | None,
    by: tuple[str, str],
    snapshot_id: int | None,
    tasks: Sequence[FileScanTask],
) -> Filling | None:
    """What a reading of these files has to fill in; None where it reads them as they lie."""
    missing = filled_in(held, table, columns, None)
    if not missing:
        return None
    wanted = columns_held(held) if columns is None else columns
    past = set() if snapshot_id is None else set(missing) - names_at(held, snapshot_id)
    read = tuple(name for name in dict.fromkeys((*wanted, *by, *NEEDED)) if name not in past)
    types = log_schema(held.schema())
    kept = pa.schema([types.field(name) for name in dict.fromkeys((*wanted, *by))])
    lacking = {task.file.file_path for task in tasks if past or any(_lacks(held, task.file, column) for column in missing.values())}
    return Filling(missing, read, kept, frozenset(lacking), Plain(settings, table))


def prunes(held: IcebergTable, table: str, where: str) -> bool:
    """Whether a filter may leave out files: not by what they hold of a column that may have to be filled in."""
    return not names(condition(held, table, where)) & set(stand_ins(held))


def _lacks(held: IcebergTable, file: DataFile, column: FieldColumn) -> bool:
    """Whether a file may have events without the column; an archiver leaves it empty, too, in rows that are no events."""
    empty = nulls_in(held, file, column.name)
    return column.has_parts or empty is None or empty not in (0, nulls_in(held, file, "event_type"))
