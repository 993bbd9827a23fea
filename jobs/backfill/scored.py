"""Folded records -> rows of a scores table, by the scoring path's own functions. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from features.profile_history import ProfileHistory
from jobs.folded_archive import Folded
from jobs.scoring_path import Model, look_up, score


@dataclass(frozen=True)
class Scored:
    """Rows of a scores table in offset order, and how many records have none: the contract refused them, or the score is no number."""

    rows: pa.Table
    refused: int
    not_finite: int


def scored(part: Folded, from_offset: int, model: Model, profiles: ProfileHistory) -> Scored:
    """What the model gives for the accepted records of a part from an offset on, with the profiles that were known then.

    A record that the part holds twice counts once. What the stream answers by a dead letter has no row.
    """
    batch, events = part.accepted.batch, part.accepted.events
    given = look_up(part.accepted, part.with_profiles(profiles), model)
    scores, decisions = score(given.x, model)
    new = (batch.offset >= from_offset) & np.r_[True, np.diff(batch.offset) > 0][: len(events)]
    finite = np.isfinite(scores)
    kept = np.flatnonzero(new & finite)
    taken = kept.tolist()
    bounds = pa.array(np.arange(len(kept) + 1) * given.x.shape[1], pa.int32())
    rows = pa.table(
        {
            "topic_partition": pa.array(batch.partition[kept], pa.int32()),
            "topic_offset": pa.array(batch.offset[kept], pa.int64()),
            "event_id": pa.array([str(events[i].event_id) for i in taken], pa.string()),
            "user_id": pa.array([batch.users[i] for i in taken], pa.string()),
            "event_time": pa.array(batch.time[kept], pa.timestamp("ms", "UTC")).cast(pa.timestamp("us", "UTC")),
            "score": pa.array(scores[kept], pa.float32()),
            "decision": pa.array(decisions[kept], pa.bool_()),
            "features": pa.ListArray.from_arrays(bounds, pa.array(given.x[kept].ravel(), pa.float32())),
            "flags": pa.array([given.flags[i] for i in taken], pa.list_(pa.string())),
        }
    )
    refused = sum(int(part.records.offset[position]) >= from_offset for position in part.refused)
    return Scored(rows, refused, int((new & ~finite).sum()))
