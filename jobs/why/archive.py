"""The tables that an explanation reads, each as of one snapshot, with its files listed and what finds a record in them read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.online_keys import PROFILE_FEATURES
from features.profile_history import ProfileHistory
from infra.config import Settings
from infra.contracts.events import SHAPE
from jobs import archived_log
from jobs.archived_log import archived_records
from jobs.folded_archive import archived_profiles, profiles_in
from jobs.records import Records
from jobs.replay.published import COLUMNS
from jobs.replay.table_source import BY_ACTION
from jobs.table_log import END
from jobs.why.named import Place
from lakehouse.held_columns import columns_called, columns_read
from lakehouse.iceberg import arrow_schema
from lakehouse.picked import ByText, picked
from lakehouse.read import LogPlan, log_ends, plan_log, read_planned, snapshot
from lakehouse.tables import declared
from lakehouse.whereabouts import Held, Whereabouts

ACTIONS, PREDICTIONS, LETTERS, PROFILES = "user_actions", "predictions", "user_actions_dlq", "user_profiles"
BY_SOURCE = ("source_partition", "source_offset")
PREDICTION_COLUMNS = (*COLUMNS, "topic_partition", "topic_offset", "kafka_time", "event_id", "value")
LETTER_COLUMNS = ("source_partition", "source_offset", "source_topic", "event_id", "step", "reason", "message")
_NOBODY = np.int32(-2)  # whose code a refused record has, and a framed action that was archived before its schema id was decided about


@dataclass(frozen=True)
class _Users:
    """Who acted in a partition: (n,) offsets, ascending, and the place of each one's user among `users`."""

    offsets: NDArray[np.int64]
    user: NDArray[np.int32]
    users: dict[str, int]


class Archive:
    """The tables as they are now. What it holds takes some 12 bytes for each action, and 40 more once actions are looked for by event id.

    It holds no snapshot against upkeep, so it is for minutes; open another for what came since.
    """

    def __init__(self, settings: Settings) -> None:
        """Choose the snapshots, the actions' last, so that no prediction is known without its action, and list the files.

        Raises:
            LakehouseError: a table is not there, or cannot be read.

        """
        self._settings = settings
        self._pinned = {table: snapshot(settings, table) for table in (PREDICTIONS, LETTERS, PROFILES, ACTIONS)}
        self._predictions = self._plan(PREDICTIONS, PREDICTION_COLUMNS, BY_ACTION)
        self._actions = self._plan(ACTIONS, archived_log.COLUMNS)
        plans = {ACTIONS: self._actions, PREDICTIONS: self._predictions}
        self._whereabouts = {table: Whereabouts(settings, table, plan) for table, plan in plans.items() if plan is not None}
        columns = ("user_id", "known_from", "created", *PROFILE_FEATURES)
        known = self._pinned[PROFILES]
        self._profiles = None if known is None else ByText(settings, PROFILES, "user_id", columns, known)
        self._users: dict[int, _Users] = {}
        self._event_ids: dict[int, tuple[NDArray[np.int64], pa.ChunkedArray]] = {}

    def actions(self, partition: int, offsets: NDArray[np.int64]) -> tuple[Records, list[str]]:
        """Archived records at ascending offsets, in order, and the data file of each. One that the table holds twice comes once."""
        parts = list(picked(self._actions, partition, offsets)) if self._actions else []
        empty = arrow_schema(declared(ACTIONS)).empty_table().select(archived_log.COLUMNS)
        rows = pa.concat_tables([empty, *(rows for _, rows in parts)])
        paths = [path for path, rows in parts for _ in range(len(rows))]
        _, order = np.unique(rows["topic_offset"].to_numpy(), return_index=True)
        batches = rows.take(pa.array(order)).combine_chunks().to_batches() or [pa.RecordBatch.from_pylist([], empty.schema)]
        return archived_records(batches[0]), [paths[i] for i in order.tolist()]

    def predictions(self, place: Place) -> tuple[pa.Table, list[str]]:
        """Archived predictions for an action, one if all is well, and the data file of each."""
        return self._answers(self._predictions, PREDICTIONS, PREDICTION_COLUMNS, place)

    def letters(self, place: Place) -> pa.Table:
        """Archived dead letters for a record of user-actions."""
        return self._answers(self._letters, LETTERS, LETTER_COLUMNS, place)[0]

    def offsets_of(self, user: str, partition: int, end: int) -> NDArray[np.int64]:
        """The offsets of a user's archived actions below `end`, ascending, by the table's column of it."""
        known = self._users.get(partition) or self._read_users(partition)
        code = known.users.get(user, -1)
        chosen = (known.user == code) & (known.offsets < end)
        found: NDArray[np.int64] = np.unique(known.offsets[chosen])
        return found

    def nobodys(self, partition: int, first: int, end: int) -> NDArray[np.int64]:
        """The archived offsets from `first` on and below `end` whose column of the user is empty, ascending."""
        known = self._users.get(partition) or self._read_users(partition)
        chosen = (known.user == _NOBODY) & (known.offsets >= first) & (known.offsets < end)
        found: NDArray[np.int64] = np.unique(known.offsets[chosen])
        return found

    def read_users(self) -> None:
        """Find out at once whose the actions of every partition are."""
        for partition in self.ends:
            self._read_users(partition)

    def places_of(self, event_id: str) -> list[Place]:
        """Where archived actions with this event id lie; more than one where a producer gave it twice."""
        found = []
        for partition in sorted(self.ends):
            offsets, ids = self._event_ids.get(partition) or self._read_event_ids(partition)
            at = np.flatnonzero(pc.equal(ids, event_id).fill_null(False).to_numpy())
            found += [Place(partition, offset) for offset in offsets[at].tolist()]
        return found

    def profiles(self, user: str) -> ProfileHistory:
        """Every row of a user's profile that there ever was."""
        return archived_profiles(self._settings, None) if self._profiles is None else profiles_in(self._profiles.rows(user))

    def held(self, table: str, path: str, partition: int, offset: int) -> Held:
        """Where user_actions or predictions holds one of its records."""
        return self._whereabouts[table].held(path, partition, offset)

    # what few explanations ask for

    @cached_property
    def ends(self) -> dict[int, tuple[int, int]]:
        """By partition of user-actions the first archived offset, and the one after the last."""
        return self._ends(ACTIONS)

    @cached_property
    def prediction_ends(self) -> dict[int, tuple[int, int]]:
        """The same of the topic of predictions."""
        return self._ends(PREDICTIONS)

    @cached_property
    def _letters(self) -> LogPlan | None:
        return self._plan(LETTERS, LETTER_COLUMNS, BY_SOURCE)

    def _ends(self, table: str) -> dict[int, tuple[int, int]]:
        pinned = self._pinned[table]
        return {} if pinned is None else log_ends(self._settings, table, pinned)

    def _plan(self, table: str, columns: Sequence[str], by: tuple[str, str] | None = None) -> LogPlan | None:
        pinned = self._pinned[table]
        if pinned is None:
            return None
        return plan_log(self._settings, table, columns, pinned) if by is None else plan_log(self._settings, table, columns, pinned, by=by)

    def _answers(self, plan: LogPlan | None, table: str, columns: Sequence[str], place: Place) -> tuple[pa.Table, list[str]]:
        parts = list(picked(plan, place.partition, np.array([place.offset]))) if plan else []
        empty = arrow_schema(declared(table)).empty_table().select(list(columns))
        return pa.concat_tables([empty, *(rows for _, rows in parts)]), [path for path, rows in parts for _ in range(len(rows))]

    def _columns(self, partition: int, column: str) -> tuple[NDArray[np.int64], pa.ChunkedArray]:
        """Offsets, ascending, and one more column of a whole partition."""
        columns = ["topic_offset", column]
        plan = self._plan(ACTIONS, columns)
        kinds = columns_read(self._settings, ACTIONS, columns) if plan is None else plan.schema
        rows = pa.Table.from_batches(read_planned(plan, partition, 0, END) if plan else [], kinds)
        return rows["topic_offset"].to_numpy(), rows[column]

    def _read_users(self, partition: int) -> _Users:
        offsets, users = self._columns(partition, columns_called(self._settings, ACTIONS, SHAPE, ["userId"])["userId"])
        coded = users.combine_chunks().dictionary_encode()
        codes = {name: code for code, name in enumerate(coded.dictionary.to_pylist())}
        user = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)  # of what is no action, nobody
        self._users[partition] = _Users(offsets, np.where(user < 0, _NOBODY, user), codes)
        return self._users[partition]

    def _read_event_ids(self, partition: int) -> tuple[NDArray[np.int64], pa.ChunkedArray]:
        self._event_ids[partition] = self._columns(partition, "event_id")
        return self._event_ids[partition]
