"""A backfill as a whole: the log folded from its first offset, archive then topic, and scored into the table of a model version.

Whatever a run that died has left, the next one folds the log again, so that every user's state is there, and adds only what lies
behind the offsets that the table's newest snapshot says.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal

import pyarrow as pa
from filelock import FileLock, Timeout

from features.memory_store import MemoryStore
from features.profile_history import ProfileHistory
from infra.config import Settings
from infra.errors import StreamhouseError
from jobs.archived_log import TABLE, archived
from jobs.backfill.scored import scored
from jobs.backfill.seam import Seam, SeamError, behind_the_seam, refuse_another_topic, seams
from jobs.contract_history import in_effect
from jobs.folded_archive import archived_profiles, fold_records, offline_enricher
from jobs.followed_decisions import once_decided
from jobs.processes import Progress
from jobs.replay.history import History, pinned
from jobs.scoring_parts import SOURCE_TOPIC, Topic, rules
from jobs.scoring_path import Model
from lakehouse.read import log_ends
from lakehouse.scores import SHA256, Filled, add, filled, made_ready
from lakehouse.tables import scores_table

ROWS = 200_000
"""Rows in one snapshot, by default; what bounds a run's memory beside the users' histories of a partition."""

Reached = Callable[[Literal["files", "commit"]], None]
"""Told that files lie there which no snapshot names yet, and that a snapshot names them."""


class OtherRunError(StreamhouseError):
    """Another run fills the same table now."""


@dataclass
class Outcome:
    """What a run did. `before`, `after`: by partition, up to which offset the table was filled; `refused`, `not_finite`: records without
    a row among those that this run added. `folded`: partitions that had something new.
    """

    model: str
    sha256: str
    table: str
    history: History
    seams: dict[int, Seam]
    before: Mapping[int, int]
    after: Mapping[int, int]
    rows: int = 0
    refused: int = 0
    not_finite: int = 0
    snapshots: int = 0
    folded: list[int] = field(default_factory=list)
    seconds: float = 0.0


def backfill(
    settings: Settings,
    model: Model,
    own_name: str,
    *,
    rows: int = ROWS,
    progress: Progress = lambda _, __: None,
    reached: Reached = lambda _: None,
) -> Outcome:
    """Score what the table of this model version lacks, up to the topic's end as of now. Nothing is written to a topic.

    `own_name`: of the history while it is read. `rows`: at most so many in a snapshot.

    Raises:
        OtherRunError: another run fills the table.
        SeamError: archive and topic do not meet.
        StreamhouseError: nothing is archived, or the table is that of another model file.
        KafkaException: the broker does not answer.

    """
    began = time.monotonic()
    table = scores_table(model.name, model.version).name
    settings.state.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(settings.state / f"backfill-{table}.lock", timeout=0), pinned(settings, None, own_name) as history:
            made_ready(settings, model.name, model.version, model.sha256)
            pins = history.snapshots
            outcome = _fill(settings, model, table, history, log_ends(settings, TABLE, pins[TABLE]), rows, progress, reached)
    except Timeout as error:
        message = f"table `{table}`: expected to fill it alone, but another run does so now; wait for its end, and run this one again"
        raise OtherRunError(message) from error
    outcome.seconds = time.monotonic() - began
    return outcome


def _fill(
    settings: Settings,
    model: Model,
    table: str,
    history: History,
    ends: Mapping[int, tuple[int, int]],
    rows: int,
    progress: Progress,
    reached: Reached,
) -> Outcome:
    state, parts = filled(settings, table), seams(settings, ends)
    outcome = Outcome(f"{model.name}@{model.version}", model.sha256, table, history, parts, state.offsets, state.offsets)
    outcome.folded = [p for p, seam in sorted(parts.items()) if _has_new(settings, p, seam, state.offsets.get(p, 0))]
    pinned_actions = history.snapshots[TABLE]
    assert pinned_actions is not None  # or nothing is archived
    for partition in outcome.folded:
        refuse_another_topic(settings, pinned_actions, partition, parts[partition])
    filling = _Filling(settings, table, state, _summary(outcome), rows, reached)
    profiles = archived_profiles(settings, history.snapshots["user_profiles"] if outcome.folded else None)
    done, total = 0, sum(parts[p].end - parts[p].first for p in outcome.folded)
    for partition in outcome.folded:
        seam = parts[partition]
        tell = lambda offset, done=done, seam=seam: progress(done + offset - seam.first, total)  # noqa: E731 - one line for one argument
        _fill_partition(settings, model, profiles, partition, outcome, filling, tell)
        done += seam.end - seam.first
        progress(done, total)
    filling.commit()
    outcome.after, outcome.rows, outcome.snapshots = filling.state.offsets, filling.rows, filling.snapshots
    return outcome


def _has_new(settings: Settings, partition: int, seam: Seam, known: int) -> bool:
    """Whether the log of a partition may hold records that the table has not taken: without any, it need not be folded."""
    if known > seam.end:
        message = (
            f"partition {partition}: expected the topic to reach up to offset {known}, as it was scored before, got one that ends at"
            f" {seam.end}: its broker lost committed actions, or it is another topic; bring it back"
        )
        raise SeamError(message)
    if known < seam.seam:
        return True
    return next(behind_the_seam(settings, partition, known, seam.end), None) is not None


def _fill_partition(
    settings: Settings,
    model: Model,
    profiles: ProfileHistory,
    partition: int,
    outcome: Outcome,
    filling: _Filling,
    tell: Callable[[int], None],
) -> None:
    seam, pinned_actions = outcome.seams[partition], outcome.history.snapshots[TABLE]
    assert pinned_actions is not None
    log = chain(
        archived(settings, partition, seam.first, seam.seam, pinned_actions),
        behind_the_seam(settings, partition, seam.seam, seam.end),
    )
    taken = outcome.before.get(partition, 0)
    enrich = offline_enricher(MemoryStore())  # of this partition alone: no other needs its users
    schemas = once_decided(settings, SOURCE_TOPIC, Topic(settings, SOURCE_TOPIC).committed)
    for part in fold_records(log, partition, enrich, rules(in_effect(settings), schemas)):
        end = int(part.records.offset[-1]) + 1
        if end > taken:
            new = scored(part, taken, model, profiles)
            outcome.refused += new.refused
            outcome.not_finite += new.not_finite
            filling.take(partition, new.rows, end)
            taken = end
        tell(end)


def _summary(outcome: Outcome) -> dict[str, str]:
    """What each snapshot says of the run that made it, beside its offsets."""
    pins = {name: outcome.history.snapshots[name] for name in (TABLE, "user_profiles")}
    return {
        "streamhouse.made-by": "backfill",
        "streamhouse.model": outcome.model,
        SHA256: outcome.sha256,
        "streamhouse.seam": json.dumps({str(partition): seam.seam for partition, seam in sorted(outcome.seams.items())}),
        "streamhouse.snapshots": json.dumps(pins),
    }


@dataclass
class _Filling:
    """Rows on their way into the table: so many, and one snapshot takes them."""

    settings: Settings
    table: str
    state: Filled
    summary: Mapping[str, str]
    size: int
    reached: Reached
    rows: int = 0
    snapshots: int = 0
    _waiting: list[pa.Table] = field(default_factory=list)
    _count: int = 0
    _ends: dict[int, int] = field(default_factory=dict)

    def take(self, partition: int, rows: pa.Table, end: int) -> None:
        """Rows of a partition in offset order, with which everything below `end` is there."""
        while self._count + len(rows) >= self.size:
            some, rows = rows.slice(0, self.size - self._count), rows.slice(self.size - self._count)
            self._keep(partition, some, some["topic_offset"][-1].as_py() + 1)
            self.commit()
        self._keep(partition, rows, end)

    def commit(self) -> None:
        """One snapshot of what waits, unless nothing does."""
        offsets = {**self.state.offsets, **self._ends}
        if offsets == self.state.offsets:
            return
        rows = pa.concat_tables(self._waiting)
        self.state = add(self.settings, self.table, rows, self.state, offsets, self.summary, lambda: self.reached("files"))
        self.rows, self.snapshots = self.rows + self._count, self.snapshots + 1
        self._waiting, self._count, self._ends = [], 0, {}
        self.reached("commit")

    def _keep(self, partition: int, rows: pa.Table, end: int) -> None:
        self._waiting.append(rows)
        self._count += len(rows)
        self._ends[partition] = end
