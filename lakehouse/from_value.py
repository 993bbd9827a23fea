"""Columns that a row holds in its value's bytes alone: filled in when they are read, from what the archive kept.

A field that a contract gained is a column at once. Rows that were archived before, and those of an archiver that was started before, have
null there; what they hold stands in their value, and is read by the function by which the archiver writes it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property, reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import And, BooleanExpression, Not, Or, Reference, UnboundPredicate
from pyiceberg.table import Table as IcebergTable

from infra.config import Settings
from infra.contracts.columns import Extractor, FieldColumn
from infra.contracts.decisions import NOTHING, Decisions, after_value
from infra.contracts.events import Rejected
from infra.contracts.framing import plain_json, unframe
from infra.contracts.load import load_contracts
from lakehouse.python_values import python_values
from lakehouse.table import FIELDS, FROM_VALUE

NEEDED = ("value", "event_type", "event_version", "topic_partition", "topic_offset")
"""The columns out of which others are filled in."""
_BATCH = 20_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def fields_held(held: IcebergTable) -> dict[str, FieldColumn]:
    """By column, how its field is read, as it was when the table was last migrated."""
    return {name: FieldColumn.from_json(told) for name, told in json.loads(held.properties.get(FIELDS, "{}")).items()}


def stand_ins(held: IcebergTable) -> Mapping[str, FieldColumn]:
    """The columns of a table that may have to be filled in."""
    listed = [name for name in held.properties.get(FROM_VALUE, "").split(",") if name]
    return {name: field for name, field in fields_held(held).items() if name in listed} if listed else {}


class Plain:
    """A table's values that registry clients framed, as the JSON that they say; what an id means at a place is on record in schema_ids."""

    def __init__(self, settings: Settings, table: str) -> None:
        self._settings, self._table = settings, table

    def __call__(self, value: bytes | None, partition: int, offset: int) -> bytes | None:
        """The value itself where it is plain; None where it cannot be read, as by an id that was not known at its place."""
        framed = unframe(value)
        if framed is None:
            return value
        made = plain_json(framed, self._decisions.schema_at(self._topic, partition, offset, framed.schema_id))
        return None if isinstance(made, Rejected) else made

    @cached_property
    def _topic(self) -> str:
        return next(topic.name for topic in load_contracts().topics.values() if topic.table == self._table)

    @cached_property
    def _decisions(self) -> Decisions:
        from lakehouse.schema_ids import decided_values  # which reads a table

        return reduce(after_value, decided_values(self._settings), NOTHING)


def filled(rows: pa.Table, columns: Mapping[str, FieldColumn], types: pa.Schema, plain: Plain) -> pa.Table:
    """The rows, which have `NEEDED`, with these columns filled in where they are null and the value is an event of their type.

    One that has parts is read from the value wherever that can be read. `types`: of the columns.
    """
    for name in columns:
        if name not in rows.column_names:
            rows = rows.append_column(name, pa.nulls(len(rows), types.field(name).type))
    is_event = pc.is_in(rows["event_type"], pa.array(sorted({c.event_type for c in columns.values()}), rows["event_type"].type))
    empty = {name: _positions(is_event if c.has_parts else pc.and_(is_event, pc.is_null(rows[name]))) for name, c in columns.items()}
    if not any(map(len, empty.values())):
        return rows
    found = _read(rows, Extractor(list(columns.values())), plain, np.unique(np.concatenate(list(empty.values()))))
    for name, at in empty.items():
        if len(at):
            said = [found[i].get(name) for i in at.tolist()]
            if columns[name].has_parts:
                held = rows[name].take(pa.array(at)).to_pylist()
                said = [old if new is None else new for old, new in zip(held, said, strict=True)]
            rows = rows.set_column(rows.column_names.index(name), name, _put(rows[name], at, said))
    return rows


def value_of(column: FieldColumn, plain: Plain) -> Callable[[bytes | None, str | None, int | None, int, int], Any]:
    """What a row's `NEEDED` say of a column, one row at a time."""
    extractor, is_time = Extractor([column]), column.type == "timestamptz"

    def read(value: bytes | None, event_type: str | None, version: int | None, partition: int, offset: int) -> Any:  # noqa: ANN401 - of the column's type
        if event_type != column.event_type:
            return None
        found = extractor.read(plain(value, partition, offset), version).get(column.name)
        return _EPOCH + timedelta(milliseconds=found) if is_time and found is not None else found

    return read


def names(expression: BooleanExpression) -> set[str]:
    """The columns that a filter asks for."""
    if isinstance(expression, And | Or):
        return names(expression.left) | names(expression.right)
    if isinstance(expression, Not):
        return names(expression.child)
    term = expression.term if isinstance(expression, UnboundPredicate) else None
    return {term.name} if isinstance(term, Reference) else set()


def _read(rows: pa.Table, extractor: Extractor, plain: Plain, positions: np.ndarray[Any, Any]) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for start in range(0, len(positions), _BATCH):
        some = positions[start : start + _BATCH]
        part = rows.select(list(NEEDED)).take(pa.array(some))
        versions, partitions, offsets = (part[name].to_pylist() for name in ("event_version", "topic_partition", "topic_offset"))
        told = zip(some.tolist(), python_values(part["value"]), versions, partitions, offsets, strict=True)
        for i, value, version, partition, offset in told:
            found[i] = extractor.read(plain(value, partition, offset), version)
    return found


def _put(column: pa.ChunkedArray, positions: np.ndarray[Any, Any], values: Sequence[Any]) -> pa.ChunkedArray:
    """The column with other values at these positions, whatever its type."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        new = pa.array(values, pa.int64()).cast(pa.timestamp("ms", "UTC")).cast(kind)
    else:
        if pa.types.is_int32(kind):  # of a contract that is wider than the table still is
            values = [value if value is not None and -(2**31) <= value < 2**31 else None for value in values]
        new = pa.array(values, kind)
    order = np.arange(len(column))
    order[positions] = len(column) + np.arange(len(positions))
    return pa.chunked_array([*column.chunks, new], kind).take(pa.array(order))


def _positions(mask: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    return np.flatnonzero(mask.combine_chunks().to_numpy(zero_copy_only=False))
