"""A partition of the archive folded in log order and scored by the candidate, beside what was published: what a process does.

archive -> decode -> fold -> the candidate's inputs -> its scores      features and profiles as they were known then
the champion's: as published, or another model's over the same fold
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.activity import PURCHASE
from features.memory_store import MemoryStore
from features.profile_history import ProfileHistory
from infra.config import Settings
from jobs import processes
from jobs.contract_history import in_effect
from jobs.folded_archive import Folded, archived_profiles, folded, offline_enricher
from jobs.published_models import published_model
from jobs.records import Rules
from jobs.replay.chosen import Span
from jobs.replay.table_source import BY_ACTION
from jobs.schema_history import decisions
from jobs.scoring_parts import models_folder, rules
from jobs.scoring_path import Model, look_up, score
from jobs.table_log import TableLog
from lakehouse.tags import Snapshots

SEGMENTS = ("platform", "lifecycle", "channel", "arrival")
_SERVED = ("action_offset", "score", "decision", "model_name", "model_version", "model_sha256")
Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Models:
    """Names of the models; without a `champion` it is what was published."""

    candidate: str
    champion: str | None


@dataclass(frozen=True)
class Scores:
    """Scores (n,) and decisions (n,) of one model; NaN and no where it gave none."""

    score: Floats
    decision: NDArray[np.bool_]


@dataclass(frozen=True)
class PartOfBacktest:
    """n accepted actions of one partition, in log order: all that a comparison needs of them.

    `user` (n,) codes of this part; `time` and `created` (n,) ms; `segments` a code (n,) each, -1: not known, into `words`; `served`: how
    many predictions each model published, by its name and sha256; `refused`: how many records are no actions.
    """

    partition: int
    offset: Integers
    user: Integers
    users: int
    time: Integers
    created: Integers
    is_purchase: NDArray[np.bool_]
    champion: Scores
    candidate: Scores
    segments: dict[str, Integers]
    words: dict[str, list[str]]
    served: Counter[tuple[str, str]]
    refused: int


@dataclass(frozen=True)
class _Worker:
    settings: Settings
    snapshots: Snapshots
    rules: Rules
    candidate: Model
    champion: Model | None
    profiles: ProfileHistory


_worker: _Worker


def begin(settings: Settings, snapshots: Snapshots, models: Models) -> None:
    """Begin this process.

    Raises:
        ModelRefused: a model that was not published, or is not what its manifest says.

    """
    global _worker
    candidate, champion = (
        None if name is None else published_model(models_folder(settings), name) for name in (models.candidate, models.champion)
    )
    assert candidate is not None
    profiles = archived_profiles(settings, snapshots["user_profiles"])
    _worker = _Worker(settings, snapshots, rules(in_effect(settings), decisions(settings)), candidate, champion, profiles)


def backtest_partition(partition: int, span: Span) -> PartOfBacktest:
    """Fold a partition from its first offset on, and score each action with the features that it had then."""
    do, (first, end) = _worker, span
    actions = do.snapshots["user_actions"]
    assert actions is not None
    served = TableLog(do.settings, "predictions", partition, do.snapshots["predictions"], _SERVED, by=BY_ACTION, first=first, end=end)
    codes, words = dict[str, int](), {name: dict[str, int]() for name in SEGMENTS}
    parts: list[dict[str, np.ndarray]] = []  # type: ignore[type-arg]
    published, refused, done = Counter[tuple[str, str]](), 0, first
    for part in folded(do.settings, actions, partition, first, end, offline_enricher(MemoryStore()), do.rules):
        last = int(part.records.offset[-1])
        parts.append(_scored(do, part, served.below(last + 1), codes, words, published))
        refused += len(part.refused)
        processes.advance(last + 1 - done)
        done = last + 1
    processes.advance(end - done)
    joined = {name: np.concatenate([one[name] for one in parts]) for name in parts[0]} if parts else {}
    return PartOfBacktest(
        partition,
        joined["offset"],
        joined["user"],
        len(codes),
        joined["time"],
        joined["created"],
        joined["is_purchase"],
        Scores(joined["champion"], joined["champion_yes"]),
        Scores(joined["candidate"], joined["candidate_yes"]),
        {name: joined[name] for name in SEGMENTS},
        {name: list(known) for name, known in words.items()},
        published,
        refused,
    )


def _scored(
    do: _Worker, part: Folded, rows: pa.Table, codes: dict[str, int], words: dict[str, dict[str, int]], published: Counter[tuple[str, str]]
) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    """One stretch in columns; `codes` and `words` grow."""
    accepted, batch = part.accepted, part.accepted.batch
    enriched = part.with_profiles(do.profiles)
    candidate, candidate_yes = score(look_up(accepted, enriched, do.candidate).x, do.candidate)
    if do.champion is None:
        champion, champion_yes = _as_published(batch.offset, rows, published)
    else:
        champion, champion_yes = score(look_up(accepted, enriched, do.champion).x, do.champion)
    told: dict[str, Sequence[str | None]] = {
        "platform": [event.data.platform for event in accepted.events],
        "lifecycle": [event.data.lifecycle for event in accepted.events],
        "channel": enriched.profiles.columns["channel"],
        "arrival": ["late" if late else "in order" for late in part.rows.late.tolist()],
    }
    return {
        "offset": batch.offset,
        "user": np.array([codes.setdefault(user, len(codes)) for user in batch.users], np.int64),
        "time": batch.time,
        "created": part.created,
        "is_purchase": batch.kind == PURCHASE,
        "champion": champion,
        "champion_yes": champion_yes,
        "candidate": candidate,
        "candidate_yes": candidate_yes,
        **{name: _coded(values, words[name]) for name, values in told.items()},
    }


def _as_published(offset: Integers, rows: pa.Table, published: Counter[tuple[str, str]]) -> tuple[Floats, NDArray[np.bool_]]:
    """Published scores and decisions of the actions at these offsets; of two answers the first."""
    scores, decisions = np.full(len(offset), np.nan, np.float32), np.zeros(len(offset), bool)
    if len(rows) and len(offset):
        answered = rows["action_offset"].to_numpy()
        at = np.minimum(np.searchsorted(answered, offset), len(answered) - 1)
        there = answered[at] == offset
        scores[there] = rows["score"].to_numpy()[at[there]]
        decisions[there] = rows["decision"].to_numpy()[at[there]].astype(bool)
        published.update(dict(_counted(rows.take(pa.array(at[there])))))
    return scores, decisions


def _counted(rows: pa.Table) -> Iterator[tuple[tuple[str, str], int]]:
    texts = [rows[column].cast(pa.string()) for column in ("model_name", "model_version", "model_sha256")]
    for counted in pc.binary_join_element_wise(*texts, "\0").value_counts().to_pylist():
        name, version, sha256 = counted["values"].split("\0")
        yield (f"{name}@{version}", sha256), counted["counts"]


def _coded(values: Sequence[str | None], words: dict[str, int]) -> Integers:
    return np.array([-1 if value is None else words.setdefault(value, len(words)) for value in values], np.int64)
