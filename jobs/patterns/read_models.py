"""Versions of projections in the database: their tables, how far each one is, and which of them readers see.

How far a version is, is changed in the transaction that changes its rows, and only from where it was: a record that comes twice, or a
second process that was asleep for a while, changes nothing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    CreateView,
    Engine,
    Integer,
    MetaData,
    Table,
    Text,
    bindparam,
    delete,
    inspect,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ProgrammingError

from infra.errors import StreamhouseError
from jobs.patterns.database import changing_tables, is_sqlite, reading
from jobs.patterns.projection import Projection, changed, storable, table_name, touched
from jobs.patterns.recorded import Recorded

Place = tuple[str, int]
"""A topic and one of its partitions."""

_known = MetaData()
_positions = Table(
    "projection_positions",
    _known,
    Column("projection", Text, primary_key=True, comment="Name of the projection (name)."),
    Column("version", Integer, primary_key=True, comment="Version of the projection (version number)."),
    Column("topic", Text, primary_key=True, comment="Topic that it reads (name)."),
    Column("topic_partition", Integer, primary_key=True, comment="Partition of the topic (partition)."),
    Column("next_offset", BigInteger, nullable=False, comment="Where the record lies that it reads next (offset)."),
    Column("unreadable", BigInteger, nullable=False, comment="Records before it that nobody can read (records)."),
)
_live = Table(
    "projection_views",
    _known,
    Column("projection", Text, primary_key=True, comment="Name of the projection, and of the view that readers query (name)."),
    Column("version", Integer, nullable=False, comment="The version that the view shows (version number)."),
)
_BEGINNING = {"next_offset": 0, "unreadable": 0}
_KEYS = 1_000  # in one question; SQLite takes 32,766 parameters, older ones fewer
_LOOK_SECONDS = 0.01


class RivalError(StreamhouseError):
    """A version is not where this process left it: another one moves it, or dropped it."""


def create(database: Engine, projection: Projection, places: Iterable[Place]) -> None:
    """Make what is missing of a version: its tables, empty, and its positions, at the beginnings of partitions."""
    with changing_tables(database) as connection:
        _known.create_all(connection)
        projection.tables[0].metadata.create_all(connection)
        there = positions(connection, projection.name, projection.version)  # they are left alone, even where another process locks them
        rows = [
            {"projection": projection.name, "version": projection.version, "topic": topic, "topic_partition": partition, **_BEGINNING}
            for topic, partition in places
            if (topic, partition) not in there
        ]
        if rows:
            connection.execute(_insert(database, _positions).on_conflict_do_nothing(), rows)


def positions(connection: Connection, name: str, version: int) -> dict[Place, int]:
    """By place, the offset that a version reads next; empty where there is no such version."""
    if not inspect(connection).has_table(_positions.name):
        return {}
    c = _positions.c
    found = connection.execute(select(c.topic, c.topic_partition, c.next_offset).where(*_of(name, version)))
    return {(topic, partition): following for topic, partition, following in found}


def unreadable(connection: Connection, name: str, version: int) -> int:
    """How many records a version has passed that nobody can read."""
    return sum(connection.execute(select(_positions.c.unreadable).where(*_of(name, version))).scalars())


def move(
    connection: Connection, projection: Projection, before: Mapping[Place, int], after: Mapping[Place, int], unread: Mapping[Place, int]
) -> None:
    """Move a version on. Call it first in a transaction: it makes rivals wait for each other.

    Raises:
        RivalError: the version is not at `before`; roll back.

    """
    c = _positions.c
    for place in sorted(after):  # in one order, so that rivals do not wait for each other in a ring
        if after[place] == before[place]:
            continue
        done = connection.execute(
            update(_positions)
            .where(
                *_of(projection.name, projection.version),
                c.topic == place[0],
                c.topic_partition == place[1],
                c.next_offset == before[place],
            )
            .values(next_offset=after[place], unreadable=c.unreadable + unread.get(place, 0))
        )
        if done.rowcount != 1:
            refuse(projection, place, before[place], positions(connection, projection.name, projection.version).get(place))


def refuse(projection: Projection, place: Place, expected: int, got: int | None) -> None:
    """Say that a version is not where it was left.

    Raises:
        RivalError: always.

    """
    what, remedy = ("was dropped", "") if got is None else (f"is at {got}: another process moves it", "; run one only")
    message = (
        f"projection {projection}: expected to be at offset {expected} of partition {place[1]} of {place[0]}, it {what};"
        f" this process stops and has changed nothing{remedy}"
    )
    raise RivalError(message)


def write(connection: Connection, projection: Projection, events: Sequence[Recorded]) -> int:
    """Fold events into the rows of a version; answers how many rows are other than before."""
    count = 0
    for part, table in zip(projection.parts, projection.tables, strict=True):
        by_key = touched(part, events)
        rows = {row[0]: row._mapping for row in _rows(connection, table, list(by_key))}
        after = changed(part, rows, by_key)
        if after:
            key, *others = (column.name for column in table.columns)
            insert = _insert(connection.engine, table)
            connection.execute(
                insert.on_conflict_do_update(index_elements=[key], set_={name: insert.excluded[name] for name in others}), after
            )
        count += len(after)
    if not is_sqlite(connection.engine):
        # psycopg ends many rows by a Flush, behind which PostgreSQL does not count how long a transaction is idle
        connection.execute(text("SELECT 1"))
    return count


def _rows(connection: Connection, table: Table, keys: Sequence[str]) -> Iterator[Any]:
    key = next(iter(table.columns))
    asked = select(table).where(key.in_(bindparam("keys", expanding=True)))
    for start in range(0, len(keys), _KEYS):
        yield from connection.execute(asked, {"keys": keys[start : start + _KEYS]})


def live_version(connection: Connection, name: str) -> int | None:
    """The version that readers of a projection see; None before the first."""
    if not inspect(connection).has_table(_live.name):
        return None
    return connection.execute(select(_live.c.version).where(_live.c.projection == name)).scalar_one_or_none()


def versions(connection: Connection, name: str) -> list[int]:
    """The versions of a projection that are in the database."""
    if not inspect(connection).has_table(_positions.name):
        return []
    c = _positions.c
    return sorted(connection.execute(select(c.version).where(c.projection == name).distinct()).scalars())


def switch(database: Engine, projection: Projection) -> None:
    """From its commit on, readers see this version; those that began before it are answered by the old one."""
    with changing_tables(database) as connection:
        _known.create_all(connection)
        made = CreateView(projection.query(*projection.tables), projection.name)
        if is_sqlite(database):
            connection.execute(text(f"DROP VIEW IF EXISTS {projection.name}"))
            connection.execute(made)
        else:
            _replace(connection, projection)
        insert = _insert(database, _live)
        row = {"projection": projection.name, "version": projection.version}
        connection.execute(insert.on_conflict_do_update(index_elements=["projection"], set_={"version": projection.version}), row)


def _replace(connection: Connection, projection: Projection) -> None:
    """Replaced in place a view keeps what was granted and built on it, which PostgreSQL allows unless columns changed or went."""
    query = projection.query(*projection.tables)
    try:
        with connection.begin_nested():
            connection.execute(CreateView(query, projection.name, or_replace=True))
    except ProgrammingError:
        connection.execute(text(f"DROP VIEW {projection.name}"))
        connection.execute(CreateView(query, projection.name))


def drop(database: Engine, name: str, version: int, *, live: bool = False) -> None:
    """Forget a version: its tables and how far it was. `live`: also one that readers see; they see none until it is built anew.

    Raises:
        StreamhouseError: there is no such version, or readers see it.

    """
    with changing_tables(database) as connection:
        there, seen = versions(connection, name), live_version(connection, name)
        if version not in there:
            message = f"projection {name} version {version}: expected one of those that are there, which are {there}"
            raise StreamhouseError(message)
        if seen == version and not live:
            message = f"projection {name} version {version}: expected a version that readers do not see, got the one they see; switch first"
            raise StreamhouseError(message)
        if seen == version:
            connection.execute(text(f"DROP VIEW {name}"))
            connection.execute(delete(_live).where(_live.c.projection == name))
        connection.execute(delete(_positions).where(*_of(name, version)))
        main = re.escape(table_name(name, version))
        for table in inspect(connection).get_table_names():
            if re.fullmatch(rf"{main}(_[a-z_]+)?", table):
                connection.execute(text(f"DROP TABLE {table}"))


def version_of(connection: Connection, projection: Projection, key: str) -> int | None:
    """The aggregate's version that readers see; None while there is no such row. For read models with a column `version`."""
    view = projection.view
    first = next(iter(view.columns))
    return connection.execute(select(view.c.version).where(first == literal(storable(key)))).scalar_one_or_none()


def wait_for(
    database: Engine, projection: Projection, key: str, version: int, seconds: float, sleep: Callable[[float], None] = time.sleep
) -> bool:
    """Wait until readers see an aggregate's version or a later one, so that who wrote reads it too; False: not within `seconds`."""
    end = time.monotonic() + seconds
    while True:
        with reading(database) as connection:
            seen = version_of(connection, projection, key)
        if seen is not None and seen >= version:
            return True
        if time.monotonic() >= end:
            return False
        sleep(_LOOK_SECONDS)


def _of(name: str, version: int) -> tuple[Any, Any]:
    return _positions.c.projection == name, _positions.c.version == version


def _insert(database: Engine, table: Table) -> Any:  # noqa: ANN401 - either dialect's, which have the same methods
    return sqlite.insert(table) if is_sqlite(database) else postgresql.insert(table)
