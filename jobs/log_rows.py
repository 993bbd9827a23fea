"""Folded actions as rows of the table feature_log."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.activity import COUNTS, FEATURES, SECONDS
from features.history import NEVER
from jobs.folded_archive import Folded


def log_rows(part: Folded) -> pa.Table:
    """A row for each of the m accepted actions, in log order, with every column of the table."""
    batch, rows = part.accepted.batch, part.rows
    never = np.zeros(len(batch.time), np.bool_)
    columns: dict[str, pa.Array] = {
        "topic_partition": pa.array(batch.partition, pa.int32()),
        "topic_offset": pa.array(batch.offset),
        "user_id": pa.array(batch.users, pa.string()),
        "event_time": _times(batch.time, never),
        "created": _times(part.created, never),
        "known_offset": pa.array(rows.known_offset, mask=rows.known_offset < 0),
        "known_time": _times(rows.known_time, rows.known_time == NEVER),
        "late": pa.array(rows.late),
    }
    for i, name in enumerate(FEATURES):
        if name in COUNTS:
            columns[name] = pa.array(rows.values[:, i].astype(np.int64))
        else:
            assert name in SECONDS
            columns[name] = pa.array(rows.values[:, i], mask=np.isnan(rows.values[:, i]))
    return pa.table(columns)


def _times(milliseconds: NDArray[np.int64], missing: NDArray[np.bool_]) -> pa.Array:
    return pa.array(np.where(missing, 0, milliseconds) * 1000, pa.timestamp("us", "UTC"), mask=missing)
