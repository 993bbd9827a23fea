"""The tables of scores, one per model version: made, filled a snapshot at a time, and how far each is filled.

Each snapshot says in its summary, for every partition of the log, up to which offset the table holds everything. Rows and this record
come into the table in one commit, which holds only for the very state that the rows were made for: so whatever dies, and whoever
else writes, an offset is never there twice and never left out.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import pyarrow as pa
from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException
from pyiceberg.io.pyarrow import _dataframe_to_data_files
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table import Transaction
from pyiceberg.table.snapshots import Operation

from infra.config import Settings
from infra.contracts.change import Change
from lakehouse import migrate
from lakehouse.append import fitted
from lakehouse.catalog import load_table, open_catalog
from lakehouse.errors import LakehouseError
from lakehouse.tables import scores_table

OFFSETS = "streamhouse.offsets"
SHA256 = "streamhouse.model-sha256"


@dataclass(frozen=True)
class Filled:
    """How far a table is: by partition of the log, the offset below which it holds everything; as of a snapshot, None: it is empty."""

    snapshot_id: int | None
    offsets: Mapping[int, int]


class OvertakenError(LakehouseError):
    """Another writer was faster; nothing was added."""


def made_ready(settings: Settings, model: str, version: str, sha256: str) -> str:
    """Make the table of a model version where there is none yet; answers its name.

    Raises:
        LakehouseError: the table there was filled by a model file of another hash, or it cannot be made.

    """
    table = scores_table(model, version)
    table = replace(table, properties=MappingProxyType({**table.properties, SHA256: sha256}))
    tables = {table.name: table}
    planned = migrate.plan(settings, tables)
    _refuse(planned)
    if planned[0].action == "create":
        _refuse(migrate.apply(settings, tables))
        return table.name
    with open_catalog(settings) as catalog:
        held = load_table(catalog, settings, table.name).properties.get(SHA256)
    if held != sha256:
        message = (
            f"table `{table.name}`: expected scores of the model with sha256 {sha256}, got those of {held};"
            " publish the changed model as another version, which gets a table of its own"
        )
        raise LakehouseError(message)
    if any(change.action != "keep" for change in planned):
        _refuse(migrate.apply(settings, tables))
    return table.name


def _refuse(changes: Sequence[Change]) -> None:
    for change in changes:
        if change.action == "refuse":
            message = f"table `{change.name}`: {change.detail}"
            raise LakehouseError(message)


def filled(settings: Settings, table: str) -> Filled:
    """How far the newest state of a table of scores is filled.

    Raises:
        LakehouseError: no such table, or its snapshots no longer say it.

    """
    with open_catalog(settings) as catalog:
        return _filled(load_table(catalog, settings, table), table)


def add(
    settings: Settings,
    table: str,
    rows: pa.Table,
    before: Filled,
    offsets: Mapping[int, int],
    summary: Mapping[str, str],
    written: Callable[[], None] = lambda: None,
) -> Filled:
    """Add rows in one snapshot, after which the table is filled up to `offsets`; the rows may be none.

    `before`: what the rows continue. `written` is called when their files lie there and are no part of the table yet.

    Raises:
        OvertakenError: the table is no longer filled as `before` says.
        LakehouseError: rows that do not fit the table, or a catalog that does not say whether it took them.

    """
    with open_catalog(settings) as catalog:
        held = load_table(catalog, settings, table)
        if (now := _filled(held, table)).offsets != before.offsets:
            raise _overtaken(table, before, now)
        new = fitted(table, rows)
        files = list(_dataframe_to_data_files(held.metadata, new, held.io, uuid.uuid4())) if len(new) else []
        written()
        transaction = Transaction(held)
        said = {**summary, OFFSETS: json.dumps({str(partition): offset for partition, offset in sorted(offsets.items())})}
        with transaction.update_snapshot(snapshot_properties=said).fast_append() as change:
            for file in files:
                change.append_data_file(file)
        try:
            transaction.commit_transaction()  # the table's properties say that this is not tried again
        except CommitFailedException as error:
            for file in files:
                with contextlib.suppress(FileNotFoundError):
                    held.io.delete(file.file_path)
            raise _overtaken(table, before, _filled(load_table(catalog, settings, table), table)) from error
        except CommitStateUnknownException as error:  # the files stay: the catalog may name them by now
            message = f"table `{table}`: expected to hear whether rows were added, got {error}; run this again, and it looks"
            raise LakehouseError(message) from error
        return _filled(held, table)


def _filled(held: IcebergTable, table: str) -> Filled:
    newest = snapshot = held.current_snapshot()
    while snapshot is not None:
        if snapshot.summary is not None and (text := snapshot.summary.get(OFFSETS)):
            offsets = {int(partition): int(offset) for partition, offset in json.loads(text).items()}
            return Filled(newest.snapshot_id if newest else None, offsets)
        if snapshot.summary is None or snapshot.summary.operation is not Operation.REPLACE:
            break  # a rewrite of the files changes no row; whatever else others did may have
        parent = snapshot.parent_snapshot_id
        snapshot = None if parent is None else held.snapshot_by_id(parent)
    if newest is None:
        return Filled(None, {})
    message = (
        f"table `{table}`: expected a snapshot whose summary says {OFFSETS}, got others: what it holds is not known and cannot be"
        " continued; publish the model as another version, which gets a table of its own"
    )
    raise LakehouseError(message)


def _overtaken(table: str, before: Filled, now: Filled) -> OvertakenError:
    return OvertakenError(
        f"table `{table}`: expected it filled up to {dict(before.offsets)}, as when this run began, got {dict(now.offsets)}: another run"
        " writes it too; nothing was added, run this one again"
    )
