"""Table contract_changes: what was announced, for who reads the tables and no topic.

`apply` writes that it is about to announce a contract, announces it in the topic, and writes from when it holds. So the table knows each
contract before the first record that it holds for, or says that one is under way.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from infra.config import Settings
from infra.contracts.in_effect import BEGINNING, Revision
from lakehouse.append import append
from lakehouse.catalog import open_catalog
from lakehouse.errors import LakehouseError
from lakehouse.read import read
from lakehouse.tables import CONTRACT_CHANGES

INTENDED, ANNOUNCED, WITHDRAWN = "intended", "announced", "withdrawn"


@dataclass(frozen=True)
class Noted:
    """The changes of the table: `revisions` that were announced, in their order, and the ids of those that are intended and no more."""

    revisions: tuple[Revision, ...]
    half_done: tuple[str, ...]


def noted(settings: Settings) -> Noted:
    """What the table holds; nothing where there is none yet."""
    with open_catalog(settings) as catalog:
        if not catalog.table_exists((settings.lake.namespace, CONTRACT_CHANGES.name)):
            return Noted((), ())
    rows = read(settings, CONTRACT_CHANGES.name).sort_by("written").to_pylist()
    ended = {row["change_id"]: row for row in rows if row["state"] != INTENDED}
    revisions = [
        Revision(BEGINNING if (at := row["effective_from"]) is None else _ms(at), row["document"], name)
        for name, row in ended.items()
        if row["state"] == ANNOUNCED
    ]
    return Noted(tuple(revisions), tuple(dict.fromkeys(row["change_id"] for row in rows if row["change_id"] not in ended)))


def on_record(settings: Settings) -> tuple[Revision, ...]:
    """The contracts by which the tables' records are decoded.

    Raises:
        LakehouseError: one was announced, perhaps, and from when it holds is not noted.

    """
    found = noted(settings)
    if found.half_done:
        message = (
            f"table `{CONTRACT_CHANGES.name}`: expected from when each contract holds, got nothing for {found.half_done[0]}: an `apply` was"
            " interrupted; run `./streamhouse up` and `./streamhouse apply`"
        )
        raise LakehouseError(message)
    return found.revisions


def note(settings: Settings, state: str, revision: Revision, now_ms: int) -> None:
    """Write one row, once."""
    effective = None if state != ANNOUNCED or revision.from_ms == BEGINNING else datetime.fromtimestamp(revision.from_ms / 1000, UTC)
    row = {
        "change_id": revision.change_id,
        "state": state,
        "effective_from": effective,
        "sha256": revision.sha256,
        "document": revision.document,
        "written": datetime.fromtimestamp(now_ms / 1000, UTC),
    }
    schema = pa.schema([(c.name, pa.timestamp("us", "UTC") if c.type == "timestamptz" else pa.string()) for c in CONTRACT_CHANGES.columns])
    append(settings, CONTRACT_CHANGES.name, pa.Table.from_pylist([row], schema), f"contract-{revision.change_id}-{state}")


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
