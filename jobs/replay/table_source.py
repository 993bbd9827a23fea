"""A stretch of the archive beside the predictions that answer it, from pinned snapshots of both tables, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.config import Settings
from jobs import archived_log
from jobs.archived_log import archived_records
from jobs.replay.chosen import Chosen, Span
from jobs.scoring_path import Records
from jobs.table_log import TableLog
from lakehouse.read import read_log
from lakehouse.tags import Snapshots

BY_ACTION = ("action_partition", "action_offset")


def stretches(
    settings: Settings, snapshots: Snapshots, partition: int, span: Span, what: Chosen, columns: Sequence[str]
) -> Iterator[tuple[Records, pa.Table]]:
    """Chosen records in offset order, some 20,000 at most, each time with the predictions for them: rows with `columns`.

    Predictions for offsets at which the archive holds no record come with those before them.
    """
    first, end = span
    timed = [*columns, "event_time"]
    predictions = TableLog(
        settings,
        "predictions",
        partition,
        snapshots["predictions"],
        timed,
        by=BY_ACTION,
        first=first,
        end=end,
        files_with=what.files_with,
    )
    actions = read_log(
        settings,
        "user_actions",
        partition,
        first,
        end,
        [*archived_log.COLUMNS, "event_time"],
        snapshots["user_actions"],
        files_with=what.files_with,
    )
    waiting: pa.RecordBatch | None = None
    for batch in actions:
        if waiting is not None:
            yield _chosen(waiting, predictions.below(batch.column("topic_offset")[0].as_py()), what, columns)
        waiting = batch
    if waiting is not None:
        yield _chosen(waiting, predictions.below(end), what, columns)
    else:
        rest = predictions.below(end)
        if len(rest):
            yield _chosen(_no_records(), rest, what, columns)


def _chosen(actions: pa.RecordBatch, predictions: pa.Table, what: Chosen, columns: Sequence[str]) -> tuple[Records, pa.Table]:
    if what.by_time:
        actions = actions.filter(_mask(actions.column("event_time"), what))
        predictions = predictions.filter(_mask(predictions["event_time"].combine_chunks(), what))
    return archived_records(actions), predictions.select(list(columns))


def _mask(event_time: pa.Array, what: Chosen) -> pa.Array:
    milliseconds = pc.cast(event_time, pa.timestamp("ms", "UTC"), safe=False).cast(pa.int64())
    return pa.array(what.holds(milliseconds.to_numpy(zero_copy_only=False).astype(np.int64)))


def _no_records() -> pa.RecordBatch:
    kinds = [pa.int32(), pa.int64(), pa.binary(), pa.binary(), pa.timestamp("us", "UTC"), pa.timestamp("us", "UTC")]
    names = [*archived_log.COLUMNS, "event_time"]
    return pa.RecordBatch.from_arrays([pa.array([], kind) for kind in kinds], names)
