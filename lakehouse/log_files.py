"""Files of an archive table read whole, once, and let go when the log has passed them: for readers that go by offset."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask
from pyiceberg.table import Table as IcebergTable

POSITION = ("topic_partition", "topic_offset")


@dataclass
class LogFiles:
    """The files of one topic partition that a reader is in the middle of, `budget` compressed bytes at most at a time."""

    held: IcebergTable
    projection: Schema
    partition: int
    budget: int
    by: tuple[str, str] = POSITION
    _open: dict[int, tuple[pa.Table, NDArray[np.int64], int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Work out once what each file is read as."""
        self._schema = log_schema(self.projection)

    def rows(self, number: int, task: FileScanTask, start: int, stop: int) -> pa.Table | None:
        """A file's rows with `start <= offset < stop`, in offset order; None when it must be read in another way.

        `number` names the file. None: it does not fit beside those that are open, or rows of it were deleted apart.
        """
        if number not in self._open:
            size = task.file.file_size_in_bytes
            if task.delete_files or size + sum(other for _, _, other in self._open.values()) > self.budget:
                return None
            self._open[number] = (*self._read(task), size)
        rows, offsets, _ = self._open[number]
        first, end = np.searchsorted(offsets, (start, stop)).tolist()
        return rows.slice(first, end - first)

    def close(self, number: int) -> None:
        """Let a file go."""
        self._open.pop(number, None)

    def _read(self, task: FileScanTask) -> tuple[pa.Table, NDArray[np.int64]]:
        schema = self._schema
        rows = file_columns(self.held, task.file.file_path, [*schema.names, *(set(self.by) - set(schema.names))])
        rows = rows.filter(pc.equal(rows[self.by[0]], self.partition))
        offsets = rows[self.by[1]].to_numpy()
        rows = pa.table([rows[name].cast(kind) for name, kind in zip(schema.names, schema.types, strict=True)], schema=schema)
        if len(offsets) > 1 and not (offsets[1:] >= offsets[:-1]).all():
            order = np.argsort(offsets, kind="stable")
            rows, offsets = rows.take(order), offsets[order]
        return rows, offsets


def log_schema(projection: Schema) -> pa.Schema:
    """The one Arrow schema of a log's rows, whatever types its files spell their texts in."""
    return schema_to_pyarrow(projection, include_field_ids=False)


def file_columns(held: IcebergTable, path: str, names: list[str]) -> pa.Table:
    """Columns of one Parquet file by the table's names: found by field id where the file has ids, else by name; null where it has none."""
    with held.io.new_input(path).open() as stream:
        file = pq.ParquetFile(stream)
        there = {_id(there) or there.name: there.name for there in file.schema_arrow}
        wanted = {name: held.schema().find_field(name) for name in names}
        found = {name: there.get(field.field_id) or there.get(name) for name, field in wanted.items()}
        read = file.read([name for name in found.values() if name is not None])
    lacking = [wanted[name] for name, there in found.items() if there is None]
    missing = log_schema(Schema(*lacking)) if lacking else None
    columns = [pa.nulls(len(read), missing.field(name).type) if missing and there is None else read[there] for name, there in found.items()]
    return pa.table(columns, names=list(found))


def unreadable(held: IcebergTable, path: str) -> str | None:
    """Why a data file cannot be read, as the end of a sentence; None where its footer says that it is whole."""
    try:
        with held.io.new_input(path).open() as stream:
            pq.ParquetFile(stream)
    except FileNotFoundError:
        return "is gone"
    except pa.ArrowInvalid as error:
        return f"is no whole Parquet file ({error})"
    return None


def _id(column: Any) -> int | None:  # noqa: ANN401 - pyarrow ships no types
    return int((column.metadata or {}).get(b"PARQUET:field_id", 0)) or None
