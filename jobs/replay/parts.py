"""What a replay asks of its processes, and what they were begun with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa

from features.memory_store import MemoryStore
from features.profile_history import ProfileHistory
from infra.config import Settings
from jobs import processes
from jobs.contract_history import in_effect
from jobs.folded_archive import archived_profiles, folded, offline_enricher
from jobs.offset_ranges import NONE, without
from jobs.published_models import PublishedModels
from jobs.records import Rules
from jobs.replay.chosen import Chosen, Span
from jobs.replay.published import COLUMNS, published
from jobs.replay.refolded import Refolded, Said, compare_log, compare_vectors
from jobs.replay.served import Outcome, replay_served
from jobs.replay.table_source import BY_ACTION, Files, list_files, stretches
from jobs.replay.topic_source import topic_stretches
from jobs.replay.typed_columns import compare_columns
from jobs.schema_history import decisions
from jobs.scoring_parts import models_folder, rules
from jobs.table_log import TableLog
from lakehouse.python_values import python_values
from lakehouse.read import log_ends
from lakehouse.tables import declared
from lakehouse.tags import Snapshots

_SAID = (*COLUMNS, "value")
_LOG = tuple(column.name for column in declared("feature_log").columns)
_AT_LEAST = 50_000  # offsets: less is read sooner than it is handed out


@dataclass(frozen=True)
class Part:
    """Some offsets of a partition."""

    partition: int
    span: Span


def parts_of(spans: Mapping[int, Span], hands: int) -> list[Part]:
    """The spans cut so that each of so many hands has something to do to the end; the largest first."""
    total = sum(end - first for first, end in spans.values())
    size = max(_AT_LEAST, total // (8 * max(hands, 1)) + 1)
    parts = [Part(p, (at, min(at + size, end))) for p, (first, end) in sorted(spans.items()) for at in range(first, end, size)]
    return sorted(parts, key=lambda part: part.span[0] - part.span[1])


def whole(spans: Mapping[int, Span]) -> list[Part]:
    """Each span in one part, the largest first."""
    return sorted((Part(p, span) for p, span in spans.items()), key=lambda part: part.span[0] - part.span[1])


@dataclass(frozen=True)
class _Worker:
    settings: Settings
    snapshots: Snapshots
    what: Chosen
    batch: int
    rules: Rules
    models: PublishedModels

    @cached_property
    def files(self) -> Files:
        """Of the tables, listed when the first part is begun."""
        return list_files(self.settings, self.snapshots, self.what, COLUMNS)

    @cached_property
    def logged(self) -> dict[int, int]:
        """The offset after the last that feature_log holds of each partition."""
        pinned = self.snapshots["feature_log"]
        return {} if pinned is None else {p: end for p, (_, end) in log_ends(self.settings, "feature_log", pinned).items()}

    @cached_property
    def profiles(self) -> ProfileHistory:
        """Of every user, read when the first partition is folded."""
        return archived_profiles(self.settings, self.snapshots["user_profiles"])


_worker: _Worker


def begin(settings: Settings, snapshots: Snapshots, what: Chosen, batch: int) -> None:
    """Begin this process; `batch`: rows in one call of a model."""
    global _worker
    source_rules = rules(in_effect(settings), decisions(settings))
    _worker = _Worker(settings, snapshots, what, batch, source_rules, PublishedModels(models_folder(settings)))


def replay_part(part: Part) -> Outcome:
    """One part of the archive as it was served."""
    outcome, done = Outcome(), part.span[0]
    for one, last in _replayed(part):
        outcome.merge([one])
        processes.advance(last + 1 - done)
        done = last + 1
    processes.advance(part.span[1] - done)
    return outcome


def replay_topic(part: Part) -> Outcome:
    """Some offsets of a partition of the topic as they were served; predictions that came late are looked at last."""
    do, outcome, done = _worker, Outcome(), part.span[0]
    for some in topic_stretches(do.settings, part.partition, part.span, do.what, COLUMNS, do.rules):
        one = replay_served(part.partition, some.records, do.rules, published(some.predictions), do.models.find, do.batch)
        if some.again:  # these records were counted before, as unanswered
            late = some.predictions["action_offset"].to_numpy()
            outcome.unanswered[part.partition] = without(outcome.unanswered.get(part.partition, NONE), late)
            one = replace(one, actions=0, refused=0, unanswered={})
        outcome.merge([one])
        outcome.last[part.partition] = max(some.last, outcome.last.get(part.partition, -1))
        last = int(some.records.offset[-1]) if len(some.records.offset) else -1
        processes.advance(max(0, last + 1 - done))
        done = max(done, last + 1)
    processes.advance(part.span[1] - done)
    return outcome


def refold_part(part: Part, first: int) -> Refolded:
    """The partition folded from its first offset on; what lies within the part is compared with predictions and feature log."""
    do, outcome, done = _worker, Refolded(), first
    actions = do.snapshots["user_actions"]
    assert actions is not None
    begins, end = part.span
    predictions = TableLog(
        do.settings, "predictions", part.partition, do.snapshots["predictions"], _SAID, by=BY_ACTION, first=begins, end=end
    )
    log = TableLog(do.settings, "feature_log", part.partition, do.snapshots["feature_log"], _LOG, first=begins, end=end)
    for some in folded(do.settings, actions, part.partition, first, end, offline_enricher(MemoryStore()), do.rules):
        last = int(some.records.offset[-1])
        rows = predictions.below(last + 1)
        said = Said(rows["action_offset"].to_numpy(), python_values(rows["value"]))
        batch = some.accepted.batch
        chosen = (batch.offset >= begins) & do.what.holds(batch.time)
        vectors = compare_vectors(some, chosen, said, do.profiles, do.rules, do.models.find)
        outcome.merge([vectors, compare_log(some, chosen, log.below(last + 1), do.logged.get(part.partition, 0))])
        inside = pa.array(np.isin(said.offset, batch.offset[chosen]))
        outcome.findings.extend(compare_columns(part.partition, rows.filter(inside), do.rules.contract))
        processes.advance(last + 1 - done)
        done = last + 1
    processes.advance(end - done)
    return outcome


def _replayed(part: Part) -> Iterator[tuple[Outcome, int]]:
    do = _worker
    for records, rows in stretches(do.settings, do.files, part.partition, part.span):
        last = int(records.offset[-1]) if len(records.offset) else part.span[0] - 1
        yield replay_served(part.partition, records, do.rules, published(rows), do.models.find, do.batch), last
