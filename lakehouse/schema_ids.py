"""Table schema_ids: what was decided about schema ids, for who reads the tables and no topic."""

from __future__ import annotations

from collections.abc import Iterator

from infra.config import Settings
from lakehouse.archives import SCHEMA_IDS
from lakehouse.catalog import open_catalog
from lakehouse.read import log_ends, read_log, snapshot


def decided_values(settings: Settings) -> Iterator[bytes | None]:
    """The events' bytes in the order of their topic; nothing where there is no table yet."""
    with open_catalog(settings) as catalog:
        if not catalog.table_exists((settings.lake.namespace, SCHEMA_IDS.name)):
            return
    pinned = snapshot(settings, SCHEMA_IDS.name)
    held = None if pinned is None else log_ends(settings, SCHEMA_IDS.name, pinned).get(0)
    if pinned is not None and held is not None:
        for batch in read_log(settings, SCHEMA_IDS.name, 0, *held, columns=["topic_offset", "value"], snapshot_id=pinned):
            yield from batch.column("value").to_pylist()
