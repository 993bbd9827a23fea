"""An archive without broker and Flink: actions answered by the real scoring path in batches of any size, put into the tables."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from features.enrich import Batch, Enricher
from features.history import Histories
from features.memory_store import MemoryStore
from features.online import Profiles
from features.online_keys import PROFILE_FEATURES
from infra.config import Settings
from infra.contracts.in_effect import Contract
from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from jobs.clickstream import Row
from jobs.published_models import published_model
from jobs.records import Records
from jobs.scoring_parts import models_folder, rules
from jobs.scoring_path import Model, answer
from tests.audited import archived
from tests.lake import put_records

PARTITIONS = load_contracts().topics["user-actions"].partitions
Profile = tuple[int, tuple[str | None, ...]]
"""From when it was known, ms, and its features."""


@dataclass(frozen=True)
class Kept:
    """A record as a consumer sees it."""

    _partition: int
    _offset: int
    _key: bytes | None
    _value: bytes | None
    _time: int

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def timestamp(self) -> tuple[int, int]:
        return 1, self._time

    def headers(self) -> None:
        return None


class StoreWithProfiles(MemoryStore):
    """A memory store that answers profiles too, as the online store does."""

    def __init__(self, profiles: Mapping[str, Profile]) -> None:
        super().__init__()
        self._profiles = profiles

    def read(self, users: Sequence[str], partitions: np.ndarray) -> tuple[Histories, Profiles]:  # type: ignore[type-arg]
        histories, _ = super().read(users, partitions)
        none: Profile = (-1, (None,) * len(PROFILE_FEATURES))
        rows = [self._profiles.get(user, none) for user in users]
        columns = {name: [row[1][i] for row in rows] for i, name in enumerate(PROFILE_FEATURES)}
        return histories, Profiles(np.array([row[0] for row in rows], np.int64), columns)


@dataclass
class Made:
    """What was written: actions, predictions and dead letters by topic."""

    topics: dict[str, list[Kept]] = field(default_factory=lambda: {"user-actions": [], "predictions": [], "user-actions-dlq": []})


def log_of(rows: Sequence[Row], seed: int, gap: float = 0.01) -> dict[int, list[Kept]]:
    """Rows as they come to lie in the topic: per partition ascending offsets, with gaps as transactions leave them."""
    rng, offsets = random.Random(seed), list(range(PARTITIONS))
    log: dict[int, list[Kept]] = {partition: [] for partition in range(PARTITIONS)}
    for row in rows:
        partition = partition_of(row.user_id, PARTITIONS)
        log[partition].append(Kept(partition, offsets[partition], row.user_id.encode(), row.value, row.time))
        offsets[partition] += 1 + (rng.random() < gap)
    return log


def answered(
    settings: Settings,
    log: Mapping[int, Sequence[Kept]],
    seed: int,
    profiles: Mapping[str, Profile],
    model_at: Callable[[int, int], str] = lambda _, __: "purchase_30m@1",
    largest_batch: int = 700,
    contract: Contract | None = None,
) -> Made:
    """Answer a log as the stream does, in batches of random size. `model_at(partition, place)`: which model, by place in the partition.

    `contract`: by which it is decoded, this code's own by default.
    """
    rng, source_rules, made = random.Random(seed), rules(contract), Made()
    models: dict[str, Model] = {}
    ends = dict.fromkeys(("predictions", "user-actions-dlq"), 0)
    for partition, records in log.items():
        enricher = Enricher(StoreWithProfiles(profiles), _nothing_missed, lambda _: 0, lambda _: None, wait_seconds=0)
        at, offsets = 0, dict.fromkeys(ends, 0)
        while at < len(records):
            name = model_at(partition, at)
            some = [r for i, r in enumerate(records[at : at + rng.randint(1, largest_batch)]) if model_at(partition, at + i) == name]
            model = models.setdefault(name, published_model(models_folder(settings), name))
            at += len(some)
            answers = answer(_records(some), source_rules, enricher, model, now_ms=1_704_067_200_000)
            for record, is_prediction, key, value in zip(some, answers.is_prediction, answers.keys, answers.values, strict=True):
                topic = "predictions" if is_prediction else "user-actions-dlq"
                made.topics[topic].append(Kept(partition, offsets[topic], key, value, record.timestamp()[1]))
                offsets[topic] += 1
        made.topics["user-actions"] += records
    return made


def put(settings: Settings, made: Made, step: int = 5000) -> None:
    """The records into their tables, a snapshot per step."""
    for topic, records in made.topics.items():
        table = load_contracts().topics[topic].archive
        for start in range(0, len(records), step):
            put_records(settings, table, archived(topic, records[start : start + step]))  # type: ignore[arg-type]


def profiles_of(table: pa.Table) -> dict[str, Profile]:
    """Rows of user_profiles, the newest of each user."""
    newest: dict[str, Profile] = {}
    for row in table.sort_by("known_from").to_pylist():
        known = round(row["known_from"].timestamp() * 1000)
        newest[row["user_id"]] = known, tuple(row[name] for name in PROFILE_FEATURES)
    return newest


def _records(kept: Sequence[Kept]) -> Records:
    return Records(
        [record.key() for record in kept],
        [record.value() for record in kept],
        np.array([record.partition() for record in kept], np.int64),
        np.array([record.offset() for record in kept], np.int64),
        np.array([record.timestamp()[1] for record in kept], np.int64),
    )


def _nothing_missed(partition: int, first: int, end: int) -> Iterator[Batch]:
    yield from ()
