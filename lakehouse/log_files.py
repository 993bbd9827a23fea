"""Files of an archive table read whole, once, and let go when the log has passed them: for readers that go by offset."""

from __future__ import annotations

from collections.abc import Iterable
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
        self._names = [*self._schema.names, *(set(self.by) - set(self._schema.names))]
        # files know columns by id, and by the name that they had when the file was written
        known = {(column.field_id, column.name) for schema in self.held.schemas().values() for column in schema.fields}
        self._plain = len({number for number, _ in known}) == len({name for _, name in known}) == len(known)

    def open(self, wanted: Iterable[tuple[int, FileScanTask]]) -> None:
        """Read the first of these files, as many as fit beside those that are open, all at once; `number` names a file from then on."""
        room = self.budget - sum(size for _, _, size in self._open.values())
        for number, task in wanted:
            if number in self._open:
                continue
            room -= task.file.file_size_in_bytes
            if task.delete_files or room < 0:
                break
            rows = self._read(task.file.file_path)
            offsets = rows[self.by[1]].to_numpy()
            rows = pa.table(
                [rows[name].cast(kind) for name, kind in zip(self._schema.names, self._schema.types, strict=True)], self._schema
            )
            if len(offsets) > 1 and not (offsets[1:] >= offsets[:-1]).all():
                order = np.argsort(offsets, kind="stable")
                rows, offsets = rows.take(order), offsets[order]
            self._open[number] = rows, offsets, task.file.file_size_in_bytes

    def holds(self, number: int) -> bool:
        """Whether a file is open."""
        return number in self._open

    def rows(self, number: int, start: int, stop: int) -> pa.Table | None:
        """An open file's rows with `start <= offset < stop`, in offset order; None when it is not open: it must be read in another way."""
        if number not in self._open:
            return None
        rows, offsets, _ = self._open[number]
        first, end = np.searchsorted(offsets, (start, stop)).tolist()
        return rows.slice(first, end - first)

    def close(self, number: int) -> None:
        """Let a file go."""
        self._open.pop(number, None)

    def _read(self, path: str) -> pa.Table:
        rows = self._by_name(path) if self._plain else None
        rows = file_columns(self.held, path, self._names) if rows is None else rows
        fits = pc.equal(rows[self.by[0]], self.partition).fill_null(False)
        return rows if pc.all(fits).as_py() else rows.filter(fits)

    def _by_name(self, path: str) -> pa.Table | None:
        """A small file's schema costs more than its rows: where a name never meant another column, it is not looked at."""
        with self.held.io.new_input(path).open() as stream:
            rows = pq.ParquetFile(stream).read(self._names, use_threads=False)
        return rows.select(self._names) if rows.num_columns == len(self._names) else None


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
        read = file.read([name for name in found.values() if name is not None], use_threads=False)
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
