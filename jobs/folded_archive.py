"""The archive folded again in log order by the stream's own functions: each action with its features as of just before it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.enrich import Batch, Enriched, Enricher, Store
from features.fold import FeatureRows
from features.history import NEVER
from features.online_keys import PROFILE_FEATURES
from features.profile_history import ProfileHistory, profile_history
from infra.config import Settings
from infra.contracts.events import Rejected
from infra.errors import StreamhouseError
from jobs.archived_log import archived
from jobs.records import Records, Rules, offset_ranges
from jobs.scoring_path import Accepted, accept
from lakehouse.python_values import python_values
from lakehouse.read import read, read_batches

EVERYTHING = 2**62
"""Committed offsets past any: nothing is asked for again, so all may be merged."""


@dataclass(frozen=True)
class Folded:
    """Some records of a partition, in log order, and the m accepted ones' features.

    `created` (m,) ms: the log's clock when each became known, the latest event time in its partition up to and with it.
    """

    records: Records
    accepted: Accepted
    refused: dict[int, Rejected]
    rows: FeatureRows
    created: NDArray[np.int64]

    def with_profiles(self, profiles: ProfileHistory) -> Enriched:
        """What was known of each accepted action: its features, and the profile that counted at its time."""
        batch = self.accepted.batch
        return Enriched(self.rows, np.arange(len(batch.users)), profiles.known_then(batch.users, batch.time))


def offline_enricher(store: Store, committed: Callable[[int], int] = lambda _: EVERYTHING) -> Enricher:
    """The stream's enrich step over a store that nobody else writes, for a log that is read from its start."""
    return Enricher(store, _no_log, committed, time.sleep, wait_seconds=0)


def folded(settings: Settings, snapshot_id: int, partition: int, first: int, end: int, enrich: Enricher, rules: Rules) -> Iterator[Folded]:
    """Fold the archived records `first <= offset < end` of one snapshot, where `first` is the partition's first.

    The partition of the enricher's store is emptied before.
    """
    return fold_records(archived(settings, partition, first, end, snapshot_id), partition, enrich, rules)


def fold_records(log: Iterable[Records], partition: int, enrich: Enricher, rules: Rules) -> Iterator[Folded]:
    """Fold the records of a partition from its first one on, wherever they are read from; as `folded`."""
    enrich.start_over(partition)
    clock = NEVER
    for records in log:
        accepted, refused = accept(records, rules)
        rows = enrich(accepted.batch, *offset_ranges(records)).rows
        created = np.maximum.accumulate(np.maximum(accepted.batch.time, clock))
        clock = int(created[-1]) if len(created) else clock
        yield Folded(records, accepted, refused, rows, created)


def archived_profiles(settings: Settings, snapshot_id: int | None, of: Callable[[str], bool] | None = None) -> ProfileHistory:
    """Every row of user_profiles as of a snapshot; None: the table was empty. `of`: which users' rows; all by default."""
    if snapshot_id is None:
        nothing = np.zeros(0, np.int64)
        return profile_history([], nothing, nothing, {name: [] for name in PROFILE_FEATURES})
    columns = ["user_id", "known_from", "created", *PROFILE_FEATURES]
    rows = _rows_of(settings, columns, snapshot_id, of) if of else read(settings, "user_profiles", columns, snapshot_id=snapshot_id)
    return profiles_in(rows)


def profiles_in(rows: pa.Table) -> ProfileHistory:
    """Rows of user_profiles; one that does not say when it was written was known from when it says, and one without that does not count."""
    rows = rows.filter(pc.is_valid(rows["known_from"]))
    known_from = milliseconds(rows["known_from"])
    written = milliseconds(pc.coalesce(rows["created"], rows["known_from"]))
    return profile_history(rows["user_id"].to_pylist(), known_from, written, {name: rows[name].to_pylist() for name in PROFILE_FEATURES})


def _rows_of(settings: Settings, columns: list[str], snapshot_id: int, of: Callable[[str], bool]) -> pa.Table:
    """In memory for these users' rows alone."""
    parts = []
    for batch in read_batches(settings, "user_profiles", columns, snapshot_id=snapshot_id):
        chosen = pa.array([user is not None and of(user) for user in python_values(batch.column("user_id"))], pa.bool_())
        parts.append(pa.Table.from_batches([batch.filter(chosen)]))
    return pa.concat_tables(parts) if parts else read(settings, "user_profiles", columns, snapshot_id=snapshot_id, limit=0)


def milliseconds(times: pa.ChunkedArray) -> NDArray[np.int64]:
    """Times without nulls as whole milliseconds since 1970 UTC, (n,)."""
    answer: NDArray[np.int64] = times.cast(pa.timestamp("ms", "UTC"), safe=False).cast(pa.int64()).to_numpy()
    return answer


def _no_log(partition: int, first: int, end: int) -> Iterator[Batch]:
    message = f"the store lost partition {partition} while the log was folded into it, up to offset {first}; run the command again"
    raise StreamhouseError(message)
