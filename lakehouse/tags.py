"""Histories that stay: one name over several tables, as an Iceberg tag on a snapshot of each, which no upkeep expires.

A history is there once its first table carries the tag: the others are tagged before it, so a name that was given half is given
anew. A table that was empty has no snapshot to tag, and stays empty in that history whatever comes later.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType

from infra.clock import Clock, system_clock
from infra.config import Settings
from lakehouse.catalog import commit_tries, load_table, open_catalog, past_snapshot
from lakehouse.errors import LakehouseError

_NAME = re.compile(r"[a-z0-9][a-z0-9_.@-]{0,99}\Z")
_HELD_MS = 24 * 3600 * 1000  # after which upkeep takes what a reader that was killed held

Snapshots = Mapping[str, int | None]
"""By table the snapshot that a history reads; None: the table was empty."""


@dataclass(frozen=True)
class Tagged:
    """A named history: the snapshot of each table, and when its first one was committed, ms since 1970."""

    name: str
    snapshots: Snapshots
    committed_ms: int


def tag(
    settings: Settings,
    name: str,
    tables: Sequence[str],
    *,
    keep_until_ms: int | None = None,
    instead: Mapping[str, int] = MappingProxyType({}),
) -> Snapshots:
    """Give the newest snapshots of `tables` a name, or answer those that have it already.

    `keep_until_ms`: when upkeep may take the name, ms since 1970; without it, it stays until `untag`. `instead`: of these tables, another
    snapshot than the newest.

    Raises:
        LakehouseError: a name of another form, no such table or snapshot, or the first table is empty.

    """
    if not _NAME.match(name) or name == MAIN_BRANCH:
        message = f"history {name!r}: expected small letters, digits, _ . @ and -, as in `spring-2024`; choose another name"
        raise LakehouseError(message)
    if (there := tagged(settings, name, tables)) is not None:
        return there
    with open_catalog(settings) as catalog:
        newest = {table: _newest(catalog, settings, table) for table in tables}
        if newest[tables[0]] is None:
            message = f"history `{name}`: expected rows in table `{tables[0]}`, got an empty table; run `./streamhouse demo` first"
            raise LakehouseError(message)
        for table in reversed(tables):
            newest[table] = _tag(catalog, settings, table, name, keep_until_ms, instead.get(table))
    return newest


def tagged(settings: Settings, name: str, tables: Sequence[str]) -> Snapshots | None:
    """The snapshots of a history; None where there is none of that name."""
    with open_catalog(settings) as catalog:
        found = {table: _tag_of(load_table(catalog, settings, table), name) for table in tables}
    return found if found[tables[0]] is not None else None


def untag(settings: Settings, name: str, tables: Sequence[str]) -> bool:
    """Take a name away, so that upkeep may expire what only it kept; False where no table had it."""
    had = False
    with open_catalog(settings) as catalog:
        for table in tables:
            for attempt in commit_tries():
                with attempt:
                    held = load_table(catalog, settings, table)
                    if _tag_of(held, name) is not None:
                        held.manage_snapshots().remove_tag(name).commit()
                        had = True
    return had


def histories(settings: Settings, tables: Sequence[str]) -> list[Tagged]:
    """Every history that a person named, by name; what readers hold for a while is none."""
    with open_catalog(settings) as catalog:
        held = {table: load_table(catalog, settings, table) for table in tables}
    first = held[tables[0]]
    found = []
    for name, ref in sorted(first.refs().items()):
        snapshot = first.snapshot_by_id(ref.snapshot_id)
        if ref.snapshot_ref_type is SnapshotRefType.TAG and ref.max_ref_age_ms is None and snapshot is not None:
            found.append(Tagged(name, {table: _tag_of(one, name) for table, one in held.items()}, snapshot.timestamp_ms))
    return found


@contextlib.contextmanager
def held(
    settings: Settings,
    name: str,
    tables: Sequence[str],
    instead: Mapping[str, int] = MappingProxyType({}),
    clock: Clock = system_clock,
) -> Iterator[Snapshots]:
    """The newest snapshots, under a name for as long as the block runs: what a long reader reads cannot be expired under it.

    `instead`: of these tables, another snapshot than the newest. A reader that was killed holds them for a day from now.
    """
    snapshots = tag(settings, name, tables, keep_until_ms=clock() + _HELD_MS, instead=instead)
    try:
        yield snapshots
    finally:
        untag(settings, name, tables)


def _tag(catalog: Catalog, settings: Settings, table: str, name: str, keep_until_ms: int | None, instead: int | None) -> int | None:
    chosen: int | None = None
    for attempt in commit_tries():
        with attempt:
            held = load_table(catalog, settings, table)
            snapshot = held.current_snapshot() if instead is None else past_snapshot(held, table, instead)
            chosen = None if snapshot is None else snapshot.snapshot_id
            if snapshot is not None and _tag_of(held, name) != chosen:
                # Iceberg counts the age of a tag from when its snapshot was committed, not from when it was given
                age = None if keep_until_ms is None else max(1, keep_until_ms - snapshot.timestamp_ms)
                held.manage_snapshots().create_tag(snapshot.snapshot_id, name, max_ref_age_ms=age).commit()
    return chosen


def _newest(catalog: Catalog, settings: Settings, table: str) -> int | None:
    snapshot = load_table(catalog, settings, table).current_snapshot()
    return None if snapshot is None else snapshot.snapshot_id


def _tag_of(table: IcebergTable, name: str) -> int | None:
    ref = table.refs().get(name)
    return ref.snapshot_id if ref is not None and ref.snapshot_ref_type is SnapshotRefType.TAG else None
