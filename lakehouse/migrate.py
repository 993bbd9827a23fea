"""Declared tables -> the lake: what is missing is created, what can grow grows, what would lose data is refused."""

from __future__ import annotations

from itertools import count

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table as IcebergTable
from pyiceberg.types import DoubleType, FloatType, IntegerType, LongType

from infra.config import Settings
from infra.contracts.change import Change
from lakehouse.catalog import forgotten, open_catalog
from lakehouse.iceberg import iceberg_schema, iceberg_type, partition_spec, sort_order
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
            planned = _table_plan(catalog, settings, table)
            changes += planned
            actions = {change.action for change in planned}
            if actions == {"create"}:
                _create(catalog, settings, table)
            elif "update" in actions and "refuse" not in actions:
                _update(catalog.load_table((settings.lake.namespace, table.name)), table)
    return changes


def _table_plan(catalog: Catalog, settings: Settings, table: Table) -> list[Change]:
    try:
        held = catalog.load_table((settings.lake.namespace, table.name))
    except NoSuchTableError:
        if lost := forgotten(settings, table.name):
            return [Change("table", table.name, "refuse", lost)]
        layout = " and ".join(c if t == "identity" else f"{t} of {c}" for c, t in table.partition) or "nothing"
        return [Change("table", table.name, "create", f"{len(table.columns)} columns, partitioned by {layout}")]
    changes = [change for column in table.columns for change in _column_plan(held, table, column)]
    names = {column.name for column in table.columns}
    changes += [
        Change(
            "table",
            table.name,
            "refuse",
            f"column {field.name} holds data and is no longer declared; declare it again, or copy the table first",
        )
        for field in held.schema().fields
        if field.name not in names
    ]
    if _layout(held) != table.partition:
        detail = (
            f"partitioning {_layout(held)} cannot become {table.partition} without rewriting every file;"
            " declare a new table and copy the rows"
        )
        changes.append(Change("table", table.name, "refuse", detail))
    wrong = {k: v for k, v in table.all_properties.items() if k != "format-version" and held.properties.get(k) != v}
    if wrong:
        changes.append(Change("table", table.name, "update", f"properties {', '.join(sorted(wrong))}"))
    return changes or [Change("table", table.name, "keep")]


def _column_plan(held: IcebergTable, table: Table, column: Column) -> list[Change]:
    if column.name not in held.schema().column_names:
        return [Change("table", table.name, "update", f"add column {column.name} {column.type}")]
    field = held.schema().find_field(column.name)
    wanted = iceberg_type(column.type, count(1).__next__)
    if str(field.field_type) != str(wanted):  # in words: nested parts carry ids, which differ between declaration and table
        if (field.field_type, wanted) in _WIDER:
            return [Change("table", table.name, "update", f"widen {column.name} from {field.field_type} to {wanted}")]
        detail = f"column {column.name} is {field.field_type} and cannot become {wanted} without loss; give it another name"
        return [Change("table", table.name, "refuse", detail)]
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
        with transaction.update_schema() as update:
            for column in table.columns:
                wanted = iceberg_type(column.type, count(10_000).__next__)
                if column.name not in held.schema().column_names:
                    update.add_column(column.name, wanted, doc=column.comment)
                    continue
                field = held.schema().find_field(column.name)
                if (field.field_type, wanted) in _WIDER:
                    update.update_column(column.name, field_type=wanted)
                if field.doc != column.comment:
                    update.update_column(column.name, doc=column.comment)
        transaction.set_properties({k: v for k, v in table.all_properties.items() if k != "format-version"})


def _layout(held: IcebergTable) -> tuple[tuple[str, str], ...]:
    schema = held.schema()
    return tuple((schema.find_column_name(f.source_id) or "", str(f.transform)) for f in held.spec().fields)
