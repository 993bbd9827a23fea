"""A lake whose feature_log and user_profiles hold what a training set can go wrong on, and a Feast store over it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from feast import FeatureStore, FeatureView, Field
from feast.types import Int64

from features.apply import feature_store
from features.definitions import definitions
from features.profile import TIME_TO_LIVE
from infra.config import Settings, load_settings
from lakehouse import migrate
from lakehouse.append import append
from lakehouse.catalog import load_table, open_catalog
from tests.unit.features.known_then import Moment, Row

UTC = pa.timestamp("us", "UTC")
START = 1_700_000_000_000_000  # microseconds, as all times here
SECOND = 1_000_000
DAY = 86_400 * SECOND
TTL = 2 * DAY
PROFILE_TTL = TIME_TO_LIVE * 1000

FEATURES = ["user_activity:actions_10m", "user_activity:seconds_since_action", "recent:actions_1h", "user_profile:channel"]


@dataclass(frozen=True)
class Planted:
    """What was drawn: rows of feature_log (named by their number, which stands in actions_10m and actions_1h), profiles, entity rows."""

    rows: list[Row]
    profiles: list[Row]
    moments: list[Moment]

    @property
    def entities(self) -> pd.DataFrame:
        """The entity rows as Feast takes them; `number` is a column of the caller's own."""
        users = pa.array([moment.key for moment in self.moments], pa.string())
        times = pa.array([moment.time for moment in self.moments], UTC)
        frame: pd.DataFrame = pa.table({"user_id": users, "event_timestamp": times, "number": range(len(times))}).to_pandas()
        return frame


def planted(rows: int, moments: int, seed: int = 0, users: int = 3000, *, nulls: bool = True) -> Planted:
    """Skewed users; late rows, corrections, ties in both times, rows that are expired at most moments; nulls in times and keys."""
    rng = np.random.default_rng(seed)

    def user(number: int) -> list[str]:
        return [f"user_{int(users * u**3):04}" for u in rng.random(number)]

    keys: list[str | None] = list(user(rows))
    times = (START + rng.integers(0, 20 * DAY // SECOND, rows) * SECOND).tolist()
    # a third comes late, by seconds to days; most are known at once
    created = [t + (int(rng.integers(0, 3 * DAY)) if rng.random() < 0.3 else 0) for t in times]
    for i in range(1, rows, 7):  # a correction: the same moment of the same user, known later
        j = int(rng.integers(0, i))
        keys[i], times[i], created[i] = keys[j], times[j], created[j] + int(rng.integers(1, DAY))
    for i in range(2, rows, 11):  # a tie in all but the log's order
        j = int(rng.integers(0, i))
        keys[i], times[i], created[i] = keys[j], times[j], created[j]
    offset = rng.permutation(rows).tolist()
    of_log = []
    for i in range(rows):
        time, known, key = (times[i], created[i], keys[i])
        if nulls and i % 53 == 0:
            known = None  # counts as known at its time
        if nulls and i % 97 == 0:
            time = None
        if nulls and i % 101 == 0:
            key = None
        of_log.append(Row(key, time, known, (offset[i] % 4, offset[i]), i))

    profiles = []
    for i in range(users):
        time = START + int(rng.integers(-PROFILE_TTL, 10 * DAY))
        profiles.append(Row(f"user_{i:04}", time, time + int(rng.integers(0, DAY)), (), i))

    # at the very moments of rows, a microsecond before, and anywhere
    picked = rng.integers(0, rows, moments).tolist()
    who, when = user(moments), (START + rng.integers(-DAY, 24 * DAY, moments)).tolist()
    of_entities = []
    for n, i in enumerate(picked):
        moment = Moment(who[n], when[n])
        edge = (times[i], times[i] - 1, created[i], created[i] - 1, times[i] + TTL, times[i] + TTL + 1)
        if n % 2:
            moment = Moment(keys[i], edge[n // 2 % len(edge)])
        if nulls and n % 211 == 0:
            moment = Moment(None, moment.time)
        if nulls and n % 223 == 0:
            moment = Moment(moment.key, None)
        of_entities.append(moment)
    return Planted(of_log, profiles, of_entities)


def fill(settings: Settings, what: Planted, commits: int = 3) -> None:
    """Write feature_log in several commits, in no order, and user_profiles."""
    order = np.random.default_rng(1).permutation(len(what.rows)).tolist()
    for number in range(commits):
        put(settings, [what.rows[i] for i in order[number::commits]], f"log-{number}")
    profiles = pa.table(
        {
            "user_id": pa.array([row.key for row in what.profiles], pa.string()),
            "channel": [f"channel {row.name}" for row in what.profiles],
            "cohort": ["2024-01"] * len(what.profiles),
            "known_from": pa.array([row.event_time for row in what.profiles], UTC),
            "created": pa.array([row.created for row in what.profiles], UTC),
        }
    )
    append(settings, "user_profiles", profiles, "profiles")


def put(settings: Settings, rows: list[Row], batch: str) -> None:
    """One commit to feature_log."""
    name = pa.array([row.name for row in rows], pa.int64())
    table = pa.table(
        {
            "topic_partition": pa.array([row.tie[0] for row in rows], pa.int32()),
            "topic_offset": pa.array([row.tie[1] for row in rows], pa.int64()),
            "user_id": pa.array([row.key for row in rows], pa.string()),
            "event_time": pa.array([row.event_time for row in rows], UTC),
            "created": pa.array([row.created for row in rows], UTC),
            "actions_10m": name,
            "actions_1h": name,
            "seconds_since_action": pa.array([None if row.name % 3 == 0 else row.name / 7 for row in rows], pa.float64()),
        }
    )
    append(settings, "feature_log", table, batch)


def a_lake(folder: Path) -> Settings:
    """Empty tables."""
    settings = load_settings({"STREAMHOUSE_STATE": str(folder)})
    migrate.apply(settings)
    return settings


def a_store(settings: Settings) -> FeatureStore:
    """The project's definitions, and a view over the same log whose rows expire after two days."""
    made: list[Any] = list(definitions(settings))
    user, activity = made[0], made[1]
    recent = FeatureView(
        name="recent",
        entities=[user],
        ttl=timedelta(microseconds=TTL),
        schema=[Field(name="actions_1h", dtype=Int64)],
        source=activity.batch_source,
    )
    store = feature_store(settings)
    store.apply([*made, recent])
    return store


def retrieved(store: FeatureStore, entities: Any, features: Any = FEATURES, **more: Any) -> pa.Table:
    """Plain Feast code."""
    return store.get_historical_features(entities, features, **more).to_arrow()


def tag(settings: Settings, table: str, name: str) -> None:
    """Name the table's newest snapshot."""
    with open_catalog(settings) as catalog:
        held = load_table(catalog, settings, table)
        newest = held.current_snapshot()
        assert newest is not None
        held.manage_snapshots().create_tag(newest.snapshot_id, name).commit()
