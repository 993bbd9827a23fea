"""What lies in the catalog, table by table, from metadata alone."""

from __future__ import annotations

from dataclasses import dataclass

from pyiceberg.exceptions import NoSuchNamespaceError

from infra.config import Settings
from lakehouse.catalog import open_catalog
from lakehouse.errors import LakehouseError
from lakehouse.tables import is_scores_table


@dataclass(frozen=True)
class HeldTable:
    """A table. `rows` and `snapshot_ms`, since 1970, None: it has no snapshot yet; `by_pattern`: a scores table."""

    name: str
    rows: int | None
    snapshot_ms: int | None
    by_pattern: bool


def held_tables(settings: Settings) -> list[HeldTable]:
    """Every table of the namespace, declared or not, by name. Nothing is made where there is no catalog yet.

    Raises:
        LakehouseError: there is no catalog yet, or it cannot be read.

    """
    lake = settings.lake
    if not lake.rest_uri and not lake.database.exists():
        message = f"catalog {lake.database}: expected a sqlite file, got none yet; run `./streamhouse up && ./streamhouse apply`"
        raise LakehouseError(message)
    with open_catalog(settings) as catalog:
        try:
            names = sorted(name for *_, name in catalog.list_tables(lake.namespace))
        except NoSuchNamespaceError:
            return []
        found = []
        for name in names:
            newest = catalog.load_table((lake.namespace, name)).current_snapshot()
            rows = None if newest is None or newest.summary is None else int(newest.summary["total-records"] or 0)
            found.append(HeldTable(name, rows, None if newest is None else newest.timestamp_ms, is_scores_table(name)))
        return found
