"""The Iceberg catalog that Flink and Python share: one sqlite file, written by both at the same time."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException, NoSuchNamespaceError, NoSuchTableError, RESTError, ValidationError
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot
from requests import RequestException
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from tenacity import (
    Retrying,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from infra.config import Settings
from lakehouse.errors import LakehouseError
from lakehouse.tables import TABLES, declared, is_scores_table

BUSY_SECONDS = 10
"""How long a writer waits for another to finish; Flink's JDBC address says the same."""

_PATIENCE = 60.0  # seconds for which a commit that lost its race is tried again
_BRING_BACK = "bring it back as it was, catalog.db-wal too, or begin anew with `./streamhouse reset`"


def commit_tries() -> Retrying:
    """Attempts at a commit that others may overtake, which says `CommitFailedException` then: PyIceberg repeats those of rows alone."""
    return Retrying(
        retry=retry_if_exception_type(CommitFailedException),
        stop=stop_after_delay(_PATIENCE),
        wait=wait_random_exponential(0.05, max=2.0),
        reraise=True,
    )


def open_catalog(settings: Settings) -> Catalog:
    """Open the catalog: a REST one where the settings name it, else a sqlite file, made on first use. Close it, or use `with`.

    The file has the name, tables and columns (JDBC schema V1) that Flink's JdbcCatalog expects. In write-ahead mode,
    readers never wait.

    Raises:
        LakehouseError: the REST catalog does not answer, or the file cannot be used; also later, by whatever is done with it.

    """
    lake = settings.lake
    if lake.rest_uri:
        try:
            return load_catalog(lake.catalog, **rest_properties(settings))
        except (RESTError, RequestException) as error:
            message = f"Iceberg catalog {lake.rest_uri}: expected an answer, got {error}; start it, or set lake.rest_uri"
            raise LakehouseError(message) from error
    try:
        lake.database.parent.mkdir(parents=True, exist_ok=True)
        catalog = _sqlite_catalog(settings)
    except (OSError, sqlite3.Error, SQLAlchemyError) as error:
        raise _unusable(lake.database, error) from error

    def say(context: ExceptionContext) -> None:
        if not isinstance(context.original_exception, sqlite3.IntegrityError):  # by which PyIceberg knows what is there already
            raise _unusable(lake.database, context.original_exception) from context.original_exception

    event.listen(catalog.engine, "handle_error", say)
    return catalog


def _sqlite_catalog(settings: Settings) -> SqlCatalog:
    def opened() -> SqlCatalog:
        with contextlib.closing(sqlite3.connect(settings.lake.database, timeout=BUSY_SECONDS)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")  # kept in the file, so this is needed once and harmless later
        uri = f"sqlite:///{settings.lake.database}?timeout={BUSY_SECONDS}"
        return SqlCatalog(settings.lake.catalog, uri=uri, warehouse=settings.lake.warehouse, schema_version="v1")

    # several at a time may make it, one after the other, and each sees what the others made once it looks again
    retried = Retrying(
        retry=retry_if_exception(_is_overtaken),
        stop=stop_after_delay(BUSY_SECONDS),
        wait=wait_random_exponential(0.02, max=0.5),
        reraise=True,
    )
    return retried(opened)


def _is_overtaken(error: BaseException) -> bool:
    """Sqlite waits for a lock, but not where a file becomes write-ahead or a reader becomes a writer: there it says at once it is held."""
    return isinstance(error, (OperationalError, sqlite3.OperationalError)) and any(
        said in str(error) for said in ("already exists", "is locked")
    )


def rest_properties(settings: Settings) -> dict[str, str]:
    """What PyIceberg needs to reach the REST catalog of the settings."""
    return {"type": "rest", "uri": settings.lake.rest_uri, "warehouse": settings.lake.warehouse}


def load_table(catalog: Catalog, settings: Settings, name: str) -> IcebergTable:
    """The newest state of a declared table.

    Raises:
        LakehouseError: the table is not declared, was not created yet, or its files lie no more where the catalog says.

    """
    declared(name)
    try:
        return catalog.load_table((settings.lake.namespace, name))
    except NoSuchTableError as error:
        if lost := forgotten(settings, name):
            message = f"table `{name}`: {lost}"
            raise LakehouseError(message) from error
        where = settings.lake.rest_uri or settings.lake.database
        remedy = "run `./streamhouse up && ./streamhouse apply`, or `./streamhouse demo`"
        message = f"table `{name}`: expected it in {where}, got no such table; {remedy}"
        raise LakehouseError(message) from error
    except FileNotFoundError as error:
        raise LakehouseError(_gone(settings, name, str(error))) from error
    except (ValidationError, OSError, ValueError) as error:
        where = settings.lake.rest_uri or _metadata(settings, name)
        said = " ".join(str(error).split())
        message = f"table `{name}`: expected metadata as Iceberg writes it in {where}, got: {said}; bring that file back as it was"
        raise LakehouseError(message) from error


def past_snapshot(held: IcebergTable, name: str, snapshot_id: int) -> Snapshot:
    """A snapshot of a table by its id.

    Raises:
        LakehouseError: it never had it, or it has expired.

    """
    found = held.snapshot_by_id(snapshot_id)
    if found is None:
        known = ", ".join(str(one.snapshot_id) for one in held.snapshots()) or "none"
        message = f"table `{name}`: expected a snapshot among {known}, got {snapshot_id}; take one that has not expired"
        raise LakehouseError(message)
    return found


def known_tables(catalog: Catalog, settings: Settings) -> list[str]:
    """The names of the declared tables, and of those scores tables that were made, sorted."""
    try:
        there = catalog.list_tables(settings.lake.namespace)
    except NoSuchNamespaceError:
        there = []
    return sorted({*TABLES, *(name for *_, name in there if is_scores_table(name))})


def forgotten(settings: Settings, name: str) -> str | None:
    """What to say of a table that the sqlite catalog does not know though data files of it lie there; None where none do."""
    lake = settings.lake
    if lake.rest_uri or lake.warehouse_uri:
        return None
    folder = lake.own_warehouse / lake.namespace / name
    if next((folder / "data").rglob("*.parquet"), None) is None:
        return None
    return (
        f"expected it in {lake.database}, which does not know it though its data lies in {folder}: the catalog's file was lost or"
        " replaced; bring it back as it was, catalog.db-wal too, or begin anew with `./streamhouse reset`"
    )


def _unusable(database: Path, error: BaseException) -> LakehouseError:
    remedies = {
        "locked": "let go who holds it, and run this again",
        "malformed": _BRING_BACK,
        "not a database": _BRING_BACK,
    }
    said = str(getattr(error, "orig", None) or error)  # SQLAlchemy adds the statement
    remedy = next((remedy for word, remedy in remedies.items() if word in said), "see that its disk has room and can be written to")
    return LakehouseError(f"catalog {database}: expected a sqlite file to read and write, got: {said}; {remedy}")


def _gone(settings: Settings, name: str, said: str) -> str:
    """Iceberg writes whole paths into its files: a state folder that was moved cannot be read where it is now."""
    lake = settings.lake
    if lake.rest_uri or lake.warehouse_uri:
        return f"table `{name}`: a file that the catalog names is gone ({said}); bring it back"
    metadata = _metadata(settings, name)
    old, _, _ = metadata.partition("/lake/warehouse/")
    if not old or old == settings.state.as_uri():
        return f"table `{name}`: a file that the catalog names is gone ({said}); bring it back"
    old = url2pathname(urlsplit(old).path)
    return f"the state folder was moved from {old} to {settings.state}, and its tables hold whole paths; move it back, or link {old} to it"


def _metadata(settings: Settings, name: str) -> str:
    """Where the metadata of a table lies, as the sqlite catalog says; empty where it does not know the table."""
    lake = settings.lake
    with contextlib.closing(sqlite3.connect(lake.database, timeout=BUSY_SECONDS)) as connection:
        (metadata,) = connection.execute(
            "SELECT metadata_location FROM iceberg_tables WHERE table_namespace = ? AND table_name = ?", (lake.namespace, name)
        ).fetchone() or ("",)
    return str(metadata)


def column_types(settings: Settings, name: str) -> dict[str, str]:
    """The columns that a table has by now, with their Iceberg types in words, such as `list<string>`.

    Raises:
        LakehouseError: no such table.

    """
    with open_catalog(settings) as catalog:
        return {field.name: str(field.field_type) for field in load_table(catalog, settings, name).schema().fields}
