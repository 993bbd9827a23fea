"""A new version of a read model beside the one that readers see: built from the topics, held against it, then shown instead of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, FromClause, column, inspect, select, table

from infra.config import Settings
from infra.errors import StreamhouseError
from jobs.patterns.database import is_sqlite, reading
from jobs.patterns.patience import never, patient
from jobs.patterns.project import catch_up, ends_of, follow
from jobs.patterns.projection import Projection
from jobs.patterns.read_models import RivalError, drop, live_version, positions, switch, versions

log = logging.getLogger("project")

_SHOWN = 5
_ROWS = 2_000
_LOOK_SECONDS = 0.1


class DiffersError(StreamhouseError):
    """A new version says something else than the one that readers see."""


class AheadError(StreamhouseError):
    """A new version has passed the one that readers see, so that they cannot be compared."""


@dataclass(frozen=True)
class Compared:
    """Two versions at the same offsets. `differ`: rows that are in one alone or have other values; `first`: some of them, in words.

    `columns`: those that both have, which were compared.
    """

    rows: int
    differ: int
    first: tuple[str, ...]
    columns: tuple[str, ...]


def keep(
    settings: Settings,
    database: Engine,
    projection: Projection,
    stopped: Callable[[], bool],
    shown: Callable[[], None] = lambda: None,
) -> None:
    """What a service does: follow the topics until stopped, and show readers this version once it says what the one before says.

    The first version of all is shown once it has caught up; `shown` is called when readers see this version.

    Raises:
        DiffersError: it says something else; `rebuild` with `accept` shows it all the same.
        StreamhouseError: readers see a later version, and this one was dropped; or as `follow`.

    """
    patient(lambda: _shown(settings, database, projection, stopped), stopped)
    shown()
    follow(settings, database, projection, stopped, idle=lambda: _refuse_unseen(database, projection))


def _refuse_unseen(database: Engine, projection: Projection) -> None:
    """A version that was dropped before this process began to follow it is there again, and readers see none."""
    with reading(database) as connection:
        live = live_version(connection, projection.name)
    if live is None:
        message = f"projection {projection}: expected that readers see a version, they see none: it was dropped, and is shown again"
        raise RivalError(message)


def _shown(settings: Settings, database: Engine, projection: Projection, stopped: Callable[[], bool]) -> None:
    with reading(database) as connection:
        live, there = live_version(connection, projection.name), versions(connection, projection.name)
    if live is not None and live > projection.version and projection.version not in there:
        message = f"projection {projection}: expected the version that readers see or a later one, they see {live}; run its code"
        raise StreamhouseError(message)
    if live is None:
        catch_up(settings, database, projection, stopped=stopped)
        if not stopped():
            switch(database, projection)
    elif live < projection.version:
        try:
            rebuild(settings, database, projection, stopped=stopped)
        except AheadError as error:  # of a rebuild that was cut off, while nobody moves the live one
            log.warning("%s; it is built once more", error)
            drop(database, projection.name, projection.version)
            rebuild(settings, database, projection, stopped=stopped)


def rebuild(
    settings: Settings,
    database: Engine,
    projection: Projection,
    *,
    accept: bool = False,
    wait_seconds: float = 30.0,
    stopped: Callable[[], bool] = never,
) -> Compared | None:
    """Build a version, compare it with the live one at the very same offsets, and switch; the live one may be followed meanwhile.

    Answers what was compared; None when there was nothing to compare with, or when stopped. `accept`: switch whatever was found.

    Raises:
        DiffersError: they differ; nothing was switched, and both are there to be looked at.
        AheadError: the new one had passed the live one, which nobody moves, for `wait_seconds`.

    """
    with reading(database) as connection:
        live = live_version(connection, projection.name)
    found = None
    if live is not None:
        if live >= projection.version:
            message = (
                f"projection {projection}: expected a later version than the one that readers see, {live}; raise `version` in its code"
            )
            raise StreamhouseError(message)
        found = _held_against(settings, database, projection, live, wait_seconds, stopped)
    if not stopped() and found is not None and found.differ and not accept:
        rows = "; ".join(found.first)
        message = (
            f"projection {projection}: expected the {found.rows:,} rows of version {live}, got {found.differ:,} others: {rows};"
            f" look at both, then {_dropping(projection)}, or where that was meant, `./streamhouse shop rebuild {projection.name} --accept`"
        )
        raise DiffersError(message)
    catch_up(settings, database, projection, stopped=stopped)
    if stopped():
        return None
    switch(database, projection)
    return found


def _held_against(
    settings: Settings, database: Engine, projection: Projection, live: int, wait_seconds: float, stopped: Callable[[], bool]
) -> Compared | None:
    """Most is read before the look at the live version, so that this look is short."""
    new = ends_of(settings, projection)
    with reading(database) as connection:
        at = positions(connection, projection.name, live)
    held = catch_up(settings, database, projection, {place: at.get(place, end) for place, end in new.items()}, stopped=stopped)
    deadline = time.monotonic() + wait_seconds
    while not stopped():
        with reading(database, whole=True) as connection:
            at = positions(connection, projection.name, live)
            if all(at.get(place, following) >= following for place, following in held.items()):
                held = catch_up(settings, database, projection, {place: at.get(place, end) for place, end in held.items()}, stopped=stopped)
                if stopped():
                    return None
                with reading(database, whole=True) as other:
                    return compare(connection, other, projection)
        if time.monotonic() > deadline:
            message = (
                f"projection {projection}: expected version {live} to pass it within {wait_seconds:.0f} s, so that both can be compared;"
                f" run version {live}, or {_dropping(projection)} and build it again"
            )
            raise AheadError(message)
        time.sleep(_LOOK_SECONDS)
    return None


def compare(live: Connection, new: Connection, projection: Projection) -> Compared:
    """What readers see by one connection, and what they would see of this version by another. The first column is the key."""
    query = projection.query(*projection.tables).subquery()
    there = {seen["name"] for seen in inspect(live).get_columns(projection.name)}
    columns = tuple(seen.name for seen in query.columns if seen.name in there)
    shown = table(projection.name, *(column(name, query.c[name].type) for name in columns))
    count = differ = 0
    first = list[str]()
    olds, news = _ordered(live, shown, columns), _ordered(new, query, columns)
    old, other = next(olds, None), next(news, None)
    while old is not None or other is not None:
        if other is None or (old is not None and old[0] < other[0]):
            text, old = f"{columns[0]} {old[0] if old else ''!r} is not in it", next(olds, None)
        elif old is None or other[0] < old[0]:
            text, other = f"{columns[0]} {other[0]!r} is in it alone", next(news, None)
        else:
            text = _told(columns, old, other)
            old, other = next(olds, None), next(news, None)
        count += 1
        if text:
            differ += 1
            if len(first) < _SHOWN:
                first.append(text)
    return Compared(count, differ, tuple(first), columns)


def _dropping(projection: Projection) -> str:
    return f"`./streamhouse shop drop {projection.name} {projection.version}`"


def _told(columns: tuple[str, ...], old: Any, new: Any) -> str:  # noqa: ANN401 - rows
    """What is other in a row; empty where nothing is."""
    if old == new:
        return ""
    values = ", ".join(f"{name} {a!r} became {b!r}" for name, a, b in zip(columns, old, new, strict=True) if a != b)
    return f"{columns[0]} {old[0]!r}: {values}"


def _ordered(connection: Connection, shown: FromClause, columns: tuple[str, ...]) -> Iterator[Any]:
    """Rows by their keys in the order of Python, which is that of the characters' numbers."""
    key = shown.c[columns[0]]
    order = key if is_sqlite(connection.engine) else key.collate("C")
    asked = select(*(shown.c[name] for name in columns)).order_by(order)
    yield from connection.execution_options(yield_per=_ROWS).execute(asked)
