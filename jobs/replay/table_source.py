"""A stretch of the archive beside the predictions that answer it, from pinned snapshots of both tables, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.config import Settings
from jobs import archived_log
from jobs.archived_log import archived_records
from jobs.records import Records
from jobs.replay.chosen import Chosen, Span
from jobs.table_log import TableLog
from lakehouse.read import LogPlan, plan_log, read_planned
from lakehouse.tags import Snapshots

BY_ACTION = ("action_partition", "action_offset")
_ACTION = [name for name in archived_log.COLUMNS if name != "key"]  # which only a dead letter needs


@dataclass(frozen=True)
class Files:
    """The files of both tables, listed once for all parts; None: the table was empty. `columns`: of predictions, what is wanted."""

    actions: LogPlan
    predictions: LogPlan | None
    what: Chosen
    columns: tuple[str, ...]


def list_files(settings: Settings, snapshots: Snapshots, what: Chosen, columns: Sequence[str]) -> Files:
    """List them, as of the pinned snapshots and as far as they can hold what was chosen."""
    timed = ("event_time",) if what.by_time else ()
    actions, predictions = snapshots["user_actions"], snapshots["predictions"]
    assert actions is not None  # or there is nothing to replay
    return Files(
        plan_log(settings, "user_actions", [*_ACTION, *timed], actions, files_with=what.files_with),
        None
        if predictions is None
        else plan_log(settings, "predictions", [*columns, *timed], predictions, by=BY_ACTION, files_with=what.files_with),
        what,
        tuple(columns),
    )


def stretches(settings: Settings, files: Files, partition: int, span: Span) -> Iterator[tuple[Records, pa.Table]]:
    """Chosen records in offset order, some 20,000 at most, each time with the predictions for them: rows with the wanted columns.

    Predictions for offsets at which the archive holds no record come with those before them.
    """
    (first, end), what, columns = span, files.what, files.columns
    timed = ("event_time",) if what.by_time else ()
    predictions = TableLog(
        settings, "predictions", partition, None, [*columns, *timed], by=BY_ACTION, first=first, end=end, plan=files.predictions
    )
    actions = read_planned(files.actions, partition, first, end)
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
    kinds = [pa.int32(), pa.int64(), pa.binary(), pa.timestamp("us", "UTC"), pa.timestamp("us", "UTC")]
    names = [*_ACTION, "event_time"]
    return pa.RecordBatch.from_arrays([pa.array([], kind) for kind in kinds], names)
