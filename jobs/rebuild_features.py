"""Archive -> the same fold -> the table feature_log: every action's features as they were known, by log position.

Reads the archived bytes of user_actions in log order through the very decode and fold of the scoring path, from an empty store.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.activity import COUNTS, FEATURES, SECONDS
from features.enrich import Batch, Enricher
from features.history import NEVER
from features.memory_store import MemoryStore
from infra.config import Settings
from jobs.scoring_parts import rules
from jobs.scoring_path import Records, accept, offset_ranges
from lakehouse.append import overwrite
from lakehouse.read import log_ends, read_log, snapshot

TABLE = "user_actions"


def feature_log(settings: Settings) -> Iterator[pa.Table]:
    """The feature rows of the whole archive as of now, a table per batch, partition by partition in log order."""
    source_rules, pinned = rules(), snapshot(settings, TABLE)
    if pinned is None:
        return
    for partition, (first, last) in sorted(log_ends(settings, TABLE, pinned).items()):

        def no_log(partition: int, first: int, end: int) -> Iterator[Batch]:
            yield from ()

        enrich = Enricher(MemoryStore(), no_log, lambda _: 0, time.sleep, wait_seconds=0)
        for batch in read_log(settings, TABLE, partition, first, last + 1, snapshot_id=pinned):
            records = _records(batch)
            accepted, _ = accept(records, source_rules)
            if accepted.events:
                rows = enrich(accepted.batch, *offset_ranges(records)).rows
                yield _as_table(accepted.batch, rows.values, rows.known_offset, rows.known_time, rows.late)


def rebuild(settings: Settings) -> str:
    """Write the table feature_log anew from the archive; answers a sentence. The same archive makes the same table."""
    parts = list(feature_log(settings))
    if not parts:
        return "the archive holds no actions yet; run `./streamhouse demo`"
    table = pa.concat_tables(parts)
    written = overwrite(settings, "feature_log", table, f"rebuild-{snapshot(settings, TABLE)}")
    return f"feature_log {'holds' if written else 'held already'} {table.num_rows:,} rows, folded from {TABLE}"


def _records(batch: pa.RecordBatch) -> Records:
    return Records(
        batch.column("key").to_pylist(),
        batch.column("value").to_pylist(),
        batch.column("topic_partition").to_numpy(zero_copy_only=False).astype(np.int64),
        batch.column("topic_offset").to_numpy(zero_copy_only=False).astype(np.int64),
        pc.cast(batch.column("kafka_time"), pa.timestamp("ms", "UTC"), safe=False).cast(pa.int64()).to_numpy(zero_copy_only=False),
    )


def _as_table(batch: Batch, values: np.ndarray, known_offset: np.ndarray, known_time: np.ndarray, late: np.ndarray) -> pa.Table:  # type: ignore[type-arg]
    columns: dict[str, pa.Array] = {
        "topic_partition": pa.array(batch.partition, pa.int32()),
        "topic_offset": pa.array(batch.offset),
        "user_id": pa.array(batch.users),
        "event_time": _times(batch.time, np.zeros(len(batch.time), bool)),
        "known_offset": pa.array(known_offset, mask=known_offset < 0),
        "known_time": _times(known_time, known_time == NEVER),
        "late": pa.array(late),
    }
    for i, name in enumerate(FEATURES):
        if name in COUNTS:
            columns[name] = pa.array(values[:, i].astype(np.int64))
        else:
            assert name in SECONDS
            columns[name] = pa.array(values[:, i], mask=np.isnan(values[:, i]))
    return pa.table(columns)


def _times(milliseconds: np.ndarray, missing: np.ndarray) -> pa.Array:  # type: ignore[type-arg]
    return pa.array(np.where(missing, 0, milliseconds) * 1000, pa.timestamp("us", "UTC"), mask=missing)
