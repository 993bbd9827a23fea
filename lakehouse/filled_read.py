"""Readings of tables whose rows may hold columns in their value's bytes alone: read, filled in, and only then filtered by those."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
from pyiceberg.expressions.visitors import bind
from pyiceberg.io.pyarrow import expression_to_pyarrow, schema_to_pyarrow
from pyiceberg.table import ALWAYS_TRUE
from pyiceberg.table import Table as IcebergTable

from infra.config import Settings
from infra.contracts.columns import FieldColumn
from lakehouse.from_value import NEEDED, Plain, filled, names, stand_ins
from lakehouse.scans import columns_held, condition, names_at, reading, scan_of


def filled_in(held: IcebergTable, table: str, columns: Sequence[str] | None, where: str | None) -> dict[str, FieldColumn]:
    """The columns of a reading that rows may hold in their value's bytes alone."""
    there = stand_ins(held)
    if not there:
        return {}
    asked = {*(columns_held(held) if columns is None else columns), *(names(condition(held, table, where)) if where else ())}
    return {name: column for name, column in there.items() if name in asked}


def filled_batches(
    settings: Settings,
    held: IcebergTable,
    table: str,
    columns: Sequence[str] | None,
    where: str | None,
    snapshot_id: int | None,
    missing: dict[str, FieldColumn],
) -> Iterator[pa.Table]:
    """Read, fill in, and only then filter by a column that was filled in: what the files hold of it prunes nothing."""
    wanted = columns_held(held) if columns is None else columns
    asked = condition(held, table, where) if where else ALWAYS_TRUE
    after = bool(names(asked) & set(missing))
    beside = [name for name in (*NEEDED, *(sorted(names(asked)) if after else ())) if name not in wanted]
    scan = scan_of(held, table, [*wanted, *beside], None if after else where, snapshot_id)
    past = [] if snapshot_id is None else [name for name in missing if name not in names_at(held, snapshot_id)]
    if past:
        scan = scan.update(selected_fields=tuple(name for name in (*wanted, *beside) if name not in past))
    types = schema_to_pyarrow(held.schema(), include_field_ids=False)
    kept = expression_to_pyarrow(bind(held.schema(), asked, case_sensitive=True)) if after else None
    plain = Plain(settings, table)
    with reading(held, scan):
        empty = True
        for batch in scan.to_arrow_batch_reader():
            rows = filled(pa.Table.from_batches([batch]), missing, types, plain)
            yield (rows if kept is None else rows.filter(kept)).select(list(wanted))
            empty = False
        if empty:
            yield pa.schema([types.field(name) for name in wanted]).empty_table()
