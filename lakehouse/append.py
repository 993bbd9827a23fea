"""Arrow -> table, as one snapshot, once per batch id. For tables with one writer; topics are archived by a job."""

from __future__ import annotations

import pyarrow as pa
from pyiceberg.table import ALWAYS_TRUE
from pyiceberg.table import Table as IcebergTable

from infra.config import Settings
from lakehouse.catalog import load_table, open_catalog
from lakehouse.errors import LakehouseError
from lakehouse.iceberg import arrow_schema
from lakehouse.tables import declared

BATCH_ID = "streamhouse.batch-id"


def append(settings: Settings, table: str, rows: pa.Table, batch_id: str) -> bool:
    """Add rows as one snapshot; False when a snapshot that the table still holds carries this batch id already.

    Columns are taken by name; declared ones that are missing become null.

    Raises:
        LakehouseError: a column that the table does not declare or a type that does not fit.

    """
    with open_catalog(settings) as catalog:
        held = load_table(catalog, settings, table)
        if _carries(held, batch_id):
            return False
        held.append(fitted(table, rows), snapshot_properties={BATCH_ID: batch_id})
        return True


def overwrite(settings: Settings, table: str, rows: pa.Table, batch_id: str, where: str | None = None) -> bool:
    """Replace the rows that `where` selects, all by default, in one commit; False as in `append`.

    Readers see the table before or after, never between.
    """
    with open_catalog(settings) as catalog:
        held = load_table(catalog, settings, table)
        if _carries(held, batch_id):
            return False
        new = fitted(table, rows)
        with held.transaction() as transaction:
            if held.current_snapshot() is not None:
                transaction.delete(where or ALWAYS_TRUE, snapshot_properties={BATCH_ID: batch_id})
            transaction.append(new, snapshot_properties={BATCH_ID: batch_id})
        return True


def fitted(table: str, rows: pa.Table) -> pa.Table:
    """The rows in the table's declared columns, in their order and types; see `append`."""
    schema = arrow_schema(declared(table))
    if unknown := [name for name in rows.column_names if name not in schema.names]:
        message = f"table `{table}`: expected columns among {', '.join(schema.names)}, got {unknown[0]!r}; drop or declare it"
        raise LakehouseError(message)
    columns = []
    for field in schema:
        if field.name not in rows.column_names:
            columns.append(pa.nulls(len(rows), field.type))
            continue
        try:
            columns.append(rows[field.name].cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            got = rows[field.name].type
            message = f"table `{table}`, column {field.name}: expected {field.type}, got {got}: {error}; convert it"
            raise LakehouseError(message) from error
    return pa.table(columns, schema=schema)


def _carries(held: IcebergTable, batch_id: str) -> bool:
    return any(s.summary is not None and s.summary.get(BATCH_ID) == batch_id for s in held.snapshots())
