"""The columns of a table as it is, whatever the contract files of this code declare: they may be older than the table, or newer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from infra.config import Settings
from infra.contracts.columns import FieldColumn
from infra.contracts.structs import snake
from lakehouse.catalog import load_table, open_catalog
from lakehouse.from_value import fields_held, stand_ins
from lakehouse.parquet_files import log_schema
from lakehouse.scans import columns_held, names_at, scan_of


@dataclass(frozen=True)
class HeldColumns:
    """The names that a snapshot has; how each field is read from a value, as the table was last migrated, also in versions that ended.

    `from_value`: those that rows may hold in their value's bytes alone.
    """

    names: frozenset[str]
    fields: Mapping[str, FieldColumn]
    from_value: frozenset[str]

    def called(self, version: int, fields: Sequence[str]) -> dict[str, str]:
        """By field as a version of the event calls it on the wire, its column: it has another name where a newer version renamed it.

        A field of which the table says nothing has the name that its column would begin with.
        """
        found = {one.fields[version]: name for name, one in self.fields.items() if version in one.fields}
        return {field: found.get(field, snake(field)) for field in fields}


def columns_of(settings: Settings, table: str, snapshot_id: int | None = None) -> HeldColumns:
    """The columns of a snapshot, the newest by default."""
    with open_catalog(settings) as catalog:
        held = load_table(catalog, settings, table)
        names = columns_held(held) if snapshot_id is None else names_at(held, snapshot_id)
        return HeldColumns(frozenset(names), fields_held(held), frozenset(stand_ins(held)))


def columns_called(settings: Settings, table: str, version: int, fields: Sequence[str]) -> dict[str, str]:
    """As `HeldColumns.called`, of a table as it is now."""
    return columns_of(settings, table).called(version, fields)


def columns_read(settings: Settings, table: str, columns: Sequence[str]) -> pa.Schema:
    """These columns in the types in which `read_log` gives them, of whichever snapshot: those of today.

    Raises:
        LakehouseError: no such table or column.

    """
    with open_catalog(settings) as catalog:
        held = load_table(catalog, settings, table)
        now = log_schema(scan_of(held, table, columns, None, None).projection())
        return pa.schema([now.field(name) for name in columns])
