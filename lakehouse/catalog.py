"""The Iceberg catalog that Flink and Python share: one sqlite file, written by both at the same time."""

from __future__ import annotations

import contextlib
import sqlite3

from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table as IcebergTable

from infra.config import Settings
from lakehouse.errors import LakehouseError
from lakehouse.tables import declared

BUSY_SECONDS = 10
"""How long a writer waits for another to finish; Flink's JDBC address says the same."""


def open_catalog(settings: Settings) -> Catalog:
    """Open the catalog, making the empty sqlite file on first use; close it with `with` or `.close()`.

    It has the name, tables and columns (JDBC schema V1) that Flink's JdbcCatalog expects. In write-ahead mode,
    readers never wait.
    """
    lake = settings.lake
    lake.database.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(lake.database, timeout=BUSY_SECONDS)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")  # kept in the file, so this is needed once and harmless later
    return SqlCatalog(
        lake.catalog,
        uri=f"sqlite:///{lake.database}?timeout={BUSY_SECONDS}",
        warehouse=lake.warehouse,
        schema_version="v1",
    )


def load_table(catalog: Catalog, settings: Settings, name: str) -> IcebergTable:
    """The newest state of a declared table.

    Raises:
        LakehouseError: the table is not declared, or was not created yet.

    """
    declared(name)
    try:
        return catalog.load_table((settings.lake.namespace, name))
    except NoSuchTableError as error:
        message = f"table `{name}`: expected it in {settings.lake.database}, got no such table; run ./streamhouse apply"
        raise LakehouseError(message) from error
