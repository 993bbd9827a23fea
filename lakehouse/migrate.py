"""Declared tables -> the lake: what is missing is created, what can grow grows, what would lose data is refused."""

from __future__ import annotations

import json
from itertools import count

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table as IcebergTable
from pyiceberg.types import DoubleType, FloatType, IntegerType, LongType

from infra.config import Settings
from infra.contracts.change import Change
from infra.contracts.columns import FieldColumn
from lakehouse.catalog import commit_tries, forgotten, open_catalog
from lakehouse.from_value import fields_held
from lakehouse.iceberg import iceberg_schema, iceberg_type, partition_spec, sort_order
from lakehouse.table import FIELDS, FROM_VALUE
from lakehouse.tables import TABLES, Column, Table

_WIDER = {(IntegerType(), LongType()), (FloatType(), DoubleType())}


def plan(settings: Settings, tables: dict[str, Table] = TABLES) -> list[Change]:
    """What `apply` would do, one line per thing that differs, one `keep` per table that does not."""
    with open_catalog(settings) as catalog:
        return [change for table in tables.values() for change in _table_plan(catalog, settings, table)]


def apply(settings: Settings, tables: dict[str, Table] = TABLES) -> list[Change]:
    """Make the lake as declared and answer the plan that was carried out; a table with a refusal is left untouched."""
    changes: list[Change] = []
    with open_catalog(settings) as catalog:
        for table in tables.values():
            for attempt in commit_tries():  # a job may commit to the table meanwhile
                with attempt:
                    planned = _carried_out(catalog, settings, table)
            changes += planned
    return changes


def _carried_out(catalog: Catalog, settings: Settings, table: Table) -> list[Change]:
    planned = _table_plan(catalog, settings, table)
    actions = {change.action for change in planned}
    if actions == {"create"}:
        _create(catalog, settings, table)
    elif "update" in actions and "refuse" not in actions:
        _update(catalog.load_table((settings.lake.namespace, table.name)), table)
    return planned


def _table_plan(catalog: Catalog, settings: Settings, table: Table) -> list[Change]:
    try:
        held = catalog.load_table((settings.lake.namespace, table.name))
    except NoSuchTableError:
        if lost := forgotten(settings, table.name):
            return [Change("table", table.name, "refuse", lost)]
        layout = " and ".join(c if t == "identity" else f"{t} of {c}" for c, t in table.partition) or "nothing"
        return [Change("table", table.name, "create", f"{len(table.columns)} columns, partitioned by {layout}")]
    changes = [change for column in table.columns for change in _column_plan(held, table, column)]
    names = {name for column in table.columns for name in (column.name, *column.was)}
    changes += [
        Change(
            "table",
            table.name,
            "refuse",
            f"column {field.name} holds data and is no longer declared; declare it again, or copy the table first",
        )
        for field in held.schema().fields
        if field.name not in names and not any(column.field for column in table.columns)  # of an event type that ended, it stays
    ]
    if _layout(held) != table.partition:
        detail = (
            f"partitioning {_layout(held)} cannot become {table.partition} without rewriting every file;"
            " declare a new table and copy the rows"
        )
        changes.append(Change("table", table.name, "refuse", detail))
    if reread := _read_otherwise(held, table):
        changes.append(Change("table", table.name, "update", f"read {', '.join(reread)} as the contract says now"))
    beside = ("format-version", *([FIELDS] if FIELDS in held.properties else []))
    wrong = {k: v for k, v in table.all_properties.items() if k not in beside and held.properties.get(k) != v}
    if wrong:
        changes.append(Change("table", table.name, "update", f"properties {', '.join(sorted(wrong))}"))
    return changes or [Change("table", table.name, "keep")]


def _column_plan(held: IcebergTable, table: Table, column: Column) -> list[Change]:
    name = _held_name(held, column)
    if name is None:
        read = ", read from the values until archive_topics starts again" if column.field else ""
        return [Change("table", table.name, "update", f"add column {column.name} {column.type}{read}")]
    field = held.schema().find_field(name)
    wanted = iceberg_type(column.type, count(1).__next__)
    if str(field.field_type) != str(wanted):  # in words: nested parts carry ids, which differ between declaration and table
        if (field.field_type, wanted) in _WIDER:
            return [Change("table", table.name, "update", f"widen {column.name} from {field.field_type} to {wanted}")]
        detail = f"column {column.name} is {field.field_type} and cannot become {wanted} without loss; give it another name"
        return [Change("table", table.name, "refuse", detail)]
    if name != column.name:
        return [Change("table", table.name, "update", f"rename column {name} to {column.name}")]
    if field.doc != column.comment:
        return [Change("table", table.name, "update", f"describe {column.name}")]
    return []


def _create(catalog: Catalog, settings: Settings, table: Table) -> None:
    catalog.create_namespace_if_not_exists(settings.lake.namespace)
    schema = iceberg_schema(table)
    catalog.create_table(
        (settings.lake.namespace, table.name),
        schema,
        partition_spec=partition_spec(table, schema),
        sort_order=sort_order(table, schema),
        properties=table.all_properties,
    )


def _update(held: IcebergTable, table: Table) -> None:
    with held.transaction() as transaction:
        from_value, fields = _from_value(held, table), _fields(held, table)
        with transaction.update_schema() as update:
            for column in table.columns:
                wanted, name = iceberg_type(column.type, count(10_000).__next__), _held_name(held, column)
                if name is None:
                    update.add_column(column.name, wanted, doc=column.comment)
                    continue
                field = held.schema().find_field(name)
                if (field.field_type, wanted) in _WIDER:
                    update.update_column(name, field_type=wanted)
                if field.doc != column.comment:
                    update.update_column(name, doc=column.comment)
                if name != column.name:
                    update.rename_column(name, column.name)
        properties = {k: v for k, v in table.all_properties.items() if k != "format-version"}
        if FIELDS in properties:
            properties[FIELDS] = json.dumps({name: field.to_json() for name, field in fields.items()})
        transaction.set_properties(properties | from_value)


def _held_name(held: IcebergTable, column: Column) -> str | None:
    """What the table calls the column; None: it has none yet."""
    there = held.schema().column_names
    return next((name for name in (column.name, *column.was) if name in there), None)


def _fields(held: IcebergTable, table: Table) -> dict[str, FieldColumn]:
    """By column, how its field is read from now on: also in versions that ended, and fields of which no version is left."""
    before = fields_held(held)
    known = {version for column in table.columns if column.field for version in (*column.field.fields, *column.field.filled)}
    found: dict[str, FieldColumn] = {}
    for column in table.columns:
        if column.field:
            was = before.pop(_held_name(held, column) or column.name, None)
            found[column.name] = column.field if was is None else column.field.with_ended(was, known)
    return before | found


def _read_otherwise(held: IcebergTable, table: Table) -> list[str]:
    """The columns that the table has and whose fields are to be read in another way than when it was last migrated."""
    before, now = fields_held(held), _fields(held, table)
    named = [(column.name, _held_name(held, column)) for column in table.columns if column.field]
    return [name for name, known in named if known in before and before[known].digest != now[name].digest]


def _from_value(held: IcebergTable, table: Table) -> dict[str, str]:
    """The property that names columns which rows may hold in their value alone: new ones, and such as an archiver reads otherwise."""
    listed = {name for name in held.properties.get(FROM_VALUE, "").split(",") if name}
    reread = _read_otherwise(held, table)
    for column in table.columns:
        name = _held_name(held, column)
        if column.field and (name is None or name in listed or column.name in reread):
            listed = (listed - {name or ""}) | {column.name}
    return {FROM_VALUE: ",".join(sorted(listed))} if listed else {}


def _layout(held: IcebergTable) -> tuple[tuple[str, str], ...]:
    schema = held.schema()
    return tuple((schema.find_column_name(f.source_id) or "", str(f.transform)) for f in held.spec().fields)
