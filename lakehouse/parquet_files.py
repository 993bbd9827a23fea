"""One Parquet file of an archive table: its columns as the table knows them, in pieces that are small whatever they are packed into."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import Schema
from pyiceberg.table import Table as IcebergTable

from lakehouse.errors import LakehouseError

_PIECE_BYTES = 128 << 20  # the most; values that are not all of the largest take far less
_LARGEST_ROW = 2 << 20  # no topic takes larger messages
_GATHERED_BYTES = 1 << 20
_READ_AHEAD = 1 << 20
_NARROW_ROWS = 1 << 16
_END = 2**63 - 1


def log_schema(projection: Schema) -> pa.Schema:
    """The one Arrow schema of a log's rows, whatever types its files spell their texts in."""
    return schema_to_pyarrow(projection, include_field_ids=False)


def file_columns(held: IcebergTable, path: str, names: list[str]) -> pa.Table:
    """Columns of one Parquet file by the table's names: found by field id where the file has ids, else by name; null where it has none."""
    with reading(path), held.io.new_input(path).open() as stream:
        file = pq.ParquetFile(stream)
        found = _found(held, file, names)
        return pa.table(_columns(held, file.read(_there(found), use_threads=False), found), names=names)


def no_rows(held: IcebergTable, names: list[str]) -> pa.Table:
    """A table of these columns."""
    return log_schema(Schema(*(held.schema().find_field(name) for name in names))).empty_table()


def pieces(
    held: IcebergTable, path: str, names: list[str], *, plain: bool, within: tuple[str, int, int] | None = None, rows: int | None = None
) -> Iterator[pa.RecordBatch]:
    """As `file_columns`, some rows at a time: as many as 128 MiB surely hold, or 64 of the largest messages that a topic takes.

    With `within`, half as many. What is held beside them is bounded by what the writer held: a page, and the values that a row
    group spells out once.

    `plain`: a name never meant another column, so that a file's schema is not looked at: it costs more than a small file's rows.
    `within`: a column and the first and the end of its values; row groups with none of them are left out. `rows`: how many at a
    time, where columns are known to be narrow.
    """
    with reading(path), held.io.new_input(path).open() as stream:
        file = pq.ParquetFile(stream, buffer_size=0 if within is None else _READ_AHEAD)
        groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
        most = _PIECE_BYTES if within is None else _PIECE_BYTES // 2  # of which several are held
        rows = rows or min((_rows_within(group, set(names), most) for group in groups), default=1)
        numbers = None
        if within is not None:
            place = _found(held, file, [within[0]])[within[0]]
            numbers = [i for i, group in enumerate(groups) if _meets(group, place, *within[1:])]
        if plain:
            for batch in file.iter_batches(rows, numbers, names, use_threads=False):
                if batch.num_columns != len(names):
                    break
                yield batch.select(names)
            else:
                return
        found = _found(held, file, names)
        for batch in file.iter_batches(rows, numbers, _there(found), use_threads=False):
            yield pa.record_batch(_columns(held, batch, found), names=names)


def in_order(rows: pa.Table, by: tuple[str, str], partition: int) -> tuple[pa.Table, NDArray[np.int64]]:
    """The rows of one partition by offset, and their offsets; nothing is copied where nothing need be."""
    fits = pc.equal(rows[by[0]], partition).fill_null(False)
    if not pc.all(fits).as_py():
        rows = rows.filter(fits)
    offsets = rows[by[1]].to_numpy()
    if (offsets[1:] >= offsets[:-1]).all():
        return rows, offsets
    order = np.argsort(offsets, kind="stable")
    return rows.take(order), offsets[order]


@dataclass
class LargeFile:
    """A file of which only a few pieces are held at a time: read on from where it was left, or anew where its rows are out of order.

    `pieces`: as the function does it, of this file; with the columns `names` unless others are named.
    """

    held: IcebergTable
    names: list[str]
    by: tuple[str, str]
    partition: int
    pieces: Callable[..., Iterator[pa.RecordBatch]]
    _sorted: bool | None = None
    _rest: Iterator[pa.RecordBatch] | None = None
    _read: list[tuple[pa.Table, NDArray[np.int64], int]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Decoded bytes that it holds."""
        return sum(size for *_, size in self._read)

    def take(self, start: int, stop: int, room: int) -> pa.Table | None:
        """Rows with `start <= offset < stop`, in offset order; None when they take more than `room` bytes. `start` never goes back."""
        if self._sorted is None:
            self._sorted = self._is_sorted()
        if not self._sorted:
            return self._looked_for(start, stop, room)
        self._read = [part for part in self._read if part[1][-1] >= start]
        if self._rest is None:
            self._rest = self._gathered(start, _END)
        parts = [rows.slice(*span(offsets, start, stop)) for rows, offsets, _ in self._read]
        taken = sum(part.nbytes for part in parts)
        while taken <= room and not (self._read and self._read[-1][1][-1] >= stop):
            if (piece := next(self._rest, None)) is None:
                break
            rows, offsets = in_order(piece, self.by, self.partition)
            if len(rows) and offsets[-1] >= start:
                self._read.append((rows, offsets, piece.nbytes))
                parts.append(rows.slice(*span(offsets, start, stop)))
                taken += parts[-1].nbytes
        return (pa.concat_tables(parts) if parts else no_rows(self.held, self.names)) if taken <= room else None

    def rest(self) -> None:
        """Hold nothing; what is taken next is looked for again."""
        self._rest, self._read = None, []

    def _looked_for(self, start: int, stop: int, room: int) -> pa.Table | None:
        parts = []
        for piece in self._gathered(start, stop):
            rows, offsets = in_order(piece, self.by, self.partition)
            first, count = span(offsets, start, stop)
            parts.append(rows.take(pa.array(np.arange(first, first + count))))  # a copy, so that the piece can go
            room -= parts[-1].nbytes
            if room < 0:
                return None
        return in_order(pa.concat_tables(parts), self.by, self.partition)[0] if parts else no_rows(self.held, self.names)

    def _gathered(self, first: int, end: int) -> Iterator[pa.Table]:
        return gathered(self.pieces(within=(self.by[1], first, end)))

    def _is_sorted(self) -> bool:
        last = -1
        for piece in self.pieces(list(self.by), rows=_NARROW_ROWS):
            offsets = piece.filter(pc.equal(piece[self.by[0]], self.partition).fill_null(False))[self.by[1]].to_numpy()
            if len(offsets) and (offsets[0] < last or (offsets[1:] < offsets[:-1]).any()):
                return False
            last = offsets[-1] if len(offsets) else last
        return True


def gathered(few: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Pieces of a megabyte at least: to put a few rows in order, or to fill them in, takes as long as thousands."""
    parts: list[pa.RecordBatch] = []
    size = 0
    for piece in few:
        parts.append(piece)
        size += piece.nbytes
        if size >= _GATHERED_BYTES:
            yield pa.Table.from_batches(parts).combine_chunks()
            parts, size = [], 0
    if parts:
        yield pa.Table.from_batches(parts).combine_chunks()


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


@contextlib.contextmanager
def reading(path: str) -> Iterator[None]:
    """Say of a data file that it cannot be read.

    Raises:
        LakehouseError: whatever Arrow raises of it.

    """
    try:
        yield
    except FileNotFoundError as error:
        message = f"data file {path}: expected it where its table says, got none; bring it back, `./streamhouse audit` tells its rows"
        raise LakehouseError(message) from error
    except (pa.ArrowException, OSError) as error:
        message = (
            f"data file {path}: expected a Parquet file that can be read, got: {error};"
            " bring it back as it was, `./streamhouse audit` tells its rows"
        )
        raise LakehouseError(message) from error


def span(offsets: NDArray[np.int64], start: int, stop: int) -> tuple[int, int]:
    """Where the rows with `start <= offset < stop` begin, and how many they are."""
    first, end = np.searchsorted(offsets, (start, stop)).tolist()
    return first, end - first


def _rows_within(group: Any, names: set[str], most: int) -> int:  # noqa: ANN401 - pyarrow ships no types
    """How many rows of a row group surely decode to no more than `most` bytes.

    What is spelt out takes what the footer says; of a dictionary, the largest value there may be can stand in every row.
    """
    spelt, of_dictionaries = 0, 0
    for i in range(group.num_columns):
        chunk = group.column(i)
        if chunk.path_in_schema.partition(".")[0] in names:
            if chunk.physical_type != "BYTE_ARRAY":
                spelt += 8 * chunk.num_values
            elif chunk.has_dictionary_page:
                of_dictionaries += min(chunk.total_uncompressed_size, _LARGEST_ROW)
            else:
                spelt += chunk.total_uncompressed_size
    return max(most // _LARGEST_ROW, (most - spelt) // max(of_dictionaries, 1))


def _meets(group: Any, column: str | None, first: int, end: int) -> bool:  # noqa: ANN401 - pyarrow ships no types
    """Whether a row group can hold values of a column from `first` up to but not including `end`."""
    chunks = [group.column(i) for i in range(group.num_columns)]
    known = next((chunk.statistics for chunk in chunks if chunk.path_in_schema == column), None)
    return known is None or not known.has_min_max or (known.min < end and known.max >= first)


def _found(held: IcebergTable, file: Any, names: list[str]) -> dict[str, str | None]:  # noqa: ANN401 - pyarrow ships no types
    """By the table's names those that a file has for the same columns; None where it has none."""
    columns = [(column.name, _id(column)) for column in file.schema_arrow]
    mapped = {} if all(number for _, number in columns) else _mapped(held)
    there = {number or mapped.get(name) or name: name for name, number in columns}
    return {name: there.get(held.schema().find_field(name).field_id) or there.get(name) for name in names}


def _mapped(held: IcebergTable) -> dict[str, int]:
    """By each name that a column ever had its id, as the table says it for files that came without ids."""
    mapping = held.name_mapping()
    return {} if mapping is None else {name: field.field_id for field in mapping for name in field.names if field.field_id is not None}


def _there(found: dict[str, str | None]) -> list[str]:
    return [name for name in found.values() if name is not None]


def _columns(held: IcebergTable, read: pa.Table | pa.RecordBatch, found: dict[str, str | None]) -> list[Any]:
    lacking = [held.schema().find_field(name) for name, there in found.items() if there is None]
    missing = log_schema(Schema(*lacking)) if lacking else None
    return [pa.nulls(len(read), missing.field(name).type) if missing and there is None else read[there] for name, there in found.items()]


def _id(column: Any) -> int | None:  # noqa: ANN401 - pyarrow ships no types
    return int((column.metadata or {}).get(b"PARQUET:field_id", 0)) or None
