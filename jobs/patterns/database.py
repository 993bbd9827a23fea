"""Where read models lie: a SQLite file or a PostgreSQL database, opened so that the same code holds on both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from infra.config import Settings
from infra.errors import SettingsError

_INODES = "inodes"
_WRITES, _WHOLE = "streamhouse_writes", "streamhouse_whole"
_DDL_LOCK = 7_305_119_634  # any number that nothing else in the database locks
_LOCK_SECONDS = 10  # a process that was stopped inside a transaction holds up nobody for longer
_IDLE_SECONDS = 30  # PostgreSQL ends the transaction of a process that was stopped inside it
_CONNECT_SECONDS = 10


def open_database(settings: Settings) -> Engine:
    """The database of the read models; connections are made when they are needed, and `dispose()` closes them.

    Raises:
        SettingsError: read_models.url cannot be read.

    """
    url = settings.read_models.url
    if not url:
        settings.read_models.folder.mkdir(parents=True, exist_ok=True)
        return _sqlite(URL.create("sqlite", database=str(settings.read_models.file)))
    try:
        return _postgresql(make_url(url.reveal()).set(drivername="postgresql+psycopg"))
    except (ArgumentError, ValueError):
        raise SettingsError("read_models.url", "postgresql://user:password@host:port/database", url) from None


@contextmanager
def reading(database: Engine, *, whole: bool = False) -> Iterator[Connection]:
    """A connection that only reads. `whole`: all that it reads is of one moment, however long it takes."""
    with database.connect().execution_options(**{_WHOLE: whole}) as connection, connection.begin():
        if whole and not is_sqlite(database):
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        yield connection


@contextmanager
def writing(database: Engine) -> Iterator[Connection]:
    """A transaction that is committed at the block's end, or rolled back when the block raises."""
    with database.connect().execution_options(**{_WRITES: True}) as connection, connection.begin():
        yield connection


@contextmanager
def changing_tables(database: Engine) -> Iterator[Connection]:
    """A transaction that makes, replaces or drops tables and views, one at a time."""
    with writing(database) as connection:
        if not is_sqlite(database):
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _DDL_LOCK})
        yield connection


def is_sqlite(database: Engine) -> bool:
    """Whether it is the embedded one."""
    return database.dialect.name == "sqlite"


def is_away(error: BaseException) -> bool:
    """Whether the database did not answer, was locked or cut the connection, so that the same may go well later."""
    if isinstance(error, OperationalError | InterfaceError):
        return "no such table" not in str(error.orig)  # which SQLite calls operational
    return isinstance(error, DBAPIError) and error.connection_invalidated


def _sqlite(url: URL) -> Engine:
    engine = create_engine(url, connect_args={"timeout": _LOCK_SECONDS})

    file = Path(url.database or "")
    files = [file, *(file.with_name(f"{file.name}-{end}") for end in ("wal", "shm"))]

    @event.listens_for(engine, "connect")
    def connected(connection: Any, kept: ConnectionPoolEntry) -> None:  # noqa: ANN401 - sqlite3's own
        connection.isolation_level = None  # the driver would begin transactions when it likes; `begun` does
        connection.execute("PRAGMA journal_mode = WAL")  # readers and the writer do not wait for each other
        connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may take the last transactions, rows and positions alike
        connection.execute("SELECT count(*) FROM sqlite_master").fetchall()  # from now on its log lies beside the file
        kept.info[_INODES] = [_inode(one) for one in files]

    @event.listens_for(engine, "checkout")
    def checked_out(_: object, kept: ConnectionPoolEntry, __: object) -> None:
        # a connection would read on in a file that a person has deleted or put another in the place of
        known = kept.info[_INODES]
        if _inode(file) == known[0]:
            return
        for one, inode in zip(files[1:], known[1:], strict=True):
            if inode is not None and _inode(one) == inode:  # the log of the file that went would be taken for the new one's
                one.unlink(missing_ok=True)
        raise DisconnectionError

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        # a transaction that reads first and writes then would be refused when another wrote in between
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get(_WRITES) else "BEGIN")

    return engine


def _inode(file: Path) -> int | None:
    try:
        return file.stat().st_ino
    except FileNotFoundError:
        return None


def _postgresql(url: URL) -> Engine:
    # a prepared statement would fail once after a view was switched to one with other columns
    engine = create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": _CONNECT_SECONDS, "prepare_threshold": None})

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: object) -> None:  # noqa: ANN401 - psycopg's own
        connection.execute("SET TIME ZONE 'UTC'")
        connection.execute(f"SET lock_timeout = '{_LOCK_SECONDS}s'")
        connection.execute(f"SET idle_in_transaction_session_timeout = '{_IDLE_SECONDS}s'")
        connection.commit()

    return engine
