"""Files of an archive table read whole, once, and let go when the log has passed them: for readers that go by offset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask
from pyiceberg.table import Table as IcebergTable

from lakehouse.filled_log import Filling
from lakehouse.parquet_files import LargeFile, gathered, in_order, log_schema, no_rows, pieces, span

POSITION = ("topic_partition", "topic_offset")


@dataclass
class LogFiles:
    """The files of one topic partition that a reader is in the middle of, `budget` decoded bytes of open ones at most at a time."""

    held: IcebergTable
    projection: Schema
    partition: int
    budget: int
    by: tuple[str, str] = POSITION
    filling: Filling | None = None
    _open: dict[int, tuple[pa.Table, NDArray[np.int64], int]] = field(default_factory=dict)
    _needs: dict[int, int] = field(default_factory=dict)  # decoded bytes of files that had no room, as far as a try has shown
    _forward: dict[int, LargeFile] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Work out once what each file is read as."""
        self._schema = log_schema(self.projection) if self.filling is None else self.filling.types
        self._names = [*self._schema.names, *(set(self.by) - set(self._schema.names))]
        # files know columns by id, and by the name that they had when the file was written
        known = {(column.field_id, column.name) for schema in self.held.schemas().values() for column in schema.fields}
        self._plain = len({number for number, _ in known}) == len({name for _, name in known}) == len(known)

    def open(self, wanted: Iterable[tuple[int, FileScanTask]]) -> None:
        """Read the first of these files, as many as fit beside those that are open, all at once; `number` names a file from then on."""
        room = self.budget - sum(size for _, _, size in self._open.values())
        for number, task in wanted:
            needs = max(self._needs.get(number, 0), task.file.file_size_in_bytes)
            if number in self._open or task.delete_files or needs > self.budget:
                continue
            if needs > room:
                break
            parts, size = [], 0
            for piece in self._pieces(task):
                parts.append(piece)
                size += piece.nbytes
                if size > room:
                    break
            if size > room:
                self._needs[number] = size * task.file.record_count // sum(len(part) for part in parts)
                continue
            rows, offsets = in_order(pa.Table.from_batches(parts) if parts else no_rows(self.held, self._names), self.by, self.partition)
            self._open[number] = self._as_declared(rows), offsets, size
            room -= size

    def holds(self, number: int) -> bool:
        """Whether a file is open."""
        return number in self._open

    def rows(self, number: int, start: int, stop: int) -> pa.Table | None:
        """An open file's rows with `start <= offset < stop`, in offset order; None when it is not open: it must be read in another way."""
        if number not in self._open:
            return None
        rows, offsets, _ = self._open[number]
        return rows.slice(*span(offsets, start, stop))

    def weight(self, number: int, part: pa.Table) -> int:
        """Decoded bytes of some of a file's rows."""
        rows, _, size = self._open.get(number, (None, None, 0))
        return size if rows is not None and len(part) == len(rows) else part.nbytes  # which asks each piece

    def piecewise(self, number: int, task: FileScanTask, start: int, stop: int, room: int) -> pa.Table | None:
        """As `rows`, of a file that has no room; None when these rows take more than `room` bytes. `start` never goes back."""
        if number not in self._forward:
            self._forward[number] = LargeFile(self.held, self._names, self.by, self.partition, partial(self._pieces, task))
        rows = self._forward[number].take(start, stop, room)
        held = [file.size for file in self._forward.values() if file.size]
        if len(held) > 1 and sum(held) > self.budget:  # many large files that hold the same offsets
            rows = None if rows is None else rows.take(pa.array(np.arange(len(rows))))  # a copy, so that all else can go
            self._forward[number].rest()
        return None if rows is None else self._as_declared(rows)

    def close(self, number: int) -> None:
        """Let a file go."""
        self._open.pop(number, None)
        self._forward.pop(number, None)

    def _pieces(self, task: FileScanTask, names: list[str] | None = None, **of: Any) -> Iterator[pa.RecordBatch]:  # noqa: ANN401 - of `pieces`
        """Of a file with the columns of its rows, filled in before they are put in order; or with other columns, as stored."""
        fill = self.filling if names is None and self.filling is not None and task.file.file_path in self.filling.files else None
        read = names or (self._names if fill is None else list(fill.read))
        found = pieces(self.held, task.file.file_path, read, plain=self._plain, **of)
        if fill is None:
            return found
        return (piece for some in gathered(found) for piece in fill(some).combine_chunks().to_batches())

    def _as_declared(self, rows: pa.Table) -> pa.Table:
        columns = [rows[name].cast(kind) for name, kind in zip(self._schema.names, self._schema.types, strict=True)]
        return pa.table(columns, self._schema)


def in_log_order(parts: list[pa.Table], offset: str) -> pa.Table:
    """Rows by offset; parts that only follow each other are not copied."""
    rows = pa.concat_tables(sorted((part for part in parts if len(part)), key=lambda part: part[offset][0].as_py()) or parts[:1])
    offsets = rows[offset].to_numpy()
    if (offsets[1:] >= offsets[:-1]).all():
        return rows
    return rows.combine_chunks().take(pa.array(np.argsort(offsets, kind="stable")))
