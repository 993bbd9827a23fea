"""The archive table of the source topic as records in log order: what is read where the topic itself does not reach back far enough."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.config import Settings
from infra.errors import StreamhouseError
from jobs.records import Records
from lakehouse.python_values import python_values
from lakehouse.read import log_ends, read_log, snapshot

TABLE = "user_actions"
COLUMNS = ["topic_partition", "topic_offset", "key", "value", "kafka_time"]


class LogCutError(StreamhouseError):
    """Actions that features are folded from are neither in the topic nor in its archive."""


def archived(settings: Settings, partition: int, first: int, end: int, snapshot_id: int) -> Iterator[Records]:
    """Archived records with `first <= offset < end` of one snapshot, in order, in bounded memory."""
    for batch in read_log(settings, TABLE, partition, first, end, columns=COLUMNS, snapshot_id=snapshot_id):
        yield archived_records(batch)


def before_the_topic(settings: Settings, partition: int, first: int, low: int) -> Iterator[Records]:
    """Records from `first` up to `low`, where retention has cut the topic.

    Raises:
        LogCutError: the archive lacks some of them.

    """
    pinned = snapshot(settings, TABLE)
    held = log_ends(settings, TABLE, pinned).get(partition) if pinned is not None else None
    if pinned is None or held is None or held[0] > first or held[1] < low:
        got = "nothing" if held is None else f"{held[0]} to {held[1] - 1}"
        message = (
            f"partition {partition}: expected offsets {first} to {low - 1} in table {TABLE}, since the topic begins at {low}, got {got};"
            " start archive_topics earlier than retention cuts, or accept shorter histories by a new topic"
        )
        raise LogCutError(message)
    yield from archived(settings, partition, first, low, pinned)


def archived_records(batch: pa.RecordBatch) -> Records:
    """Rows of the archive as the scoring path takes records; they need the columns `COLUMNS`, the key if it is to be told."""
    return Records(
        python_values(batch.column("key")) if "key" in batch.schema.names else [None] * len(batch),
        python_values(batch.column("value")),
        batch.column("topic_partition").to_numpy(zero_copy_only=False).astype(np.int64),
        batch.column("topic_offset").to_numpy(zero_copy_only=False).astype(np.int64),
        pc.cast(batch.column("kafka_time"), pa.timestamp("ms", "UTC"), safe=False).cast(pa.int64()).to_numpy(zero_copy_only=False),
    )
