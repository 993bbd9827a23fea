"""Which state of the tables a training set is made of, and what it is called: pins, tags, compaction, columns that came later."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureStore

from features.dataset import SHA256, SNAPSHOTS, dataset_hash
from features.pinned import TrainingSetRefused
from infra.config import Settings
from lakehouse.append import append
from lakehouse.catalog import load_table, open_catalog
from lakehouse.read import snapshot
from tests.lake import rewrite_records
from tests.training_sets import DAY, FEATURES, START, UTC, Planted, a_lake, a_store, planted, put, retrieved, tag
from tests.unit.features.known_then import Row, known_then


def test_the_hash_outlives_a_compaction_and_with_a_tag_later_rows(small: tuple[Settings, FeatureStore, Planted]) -> None:
    settings, store, what = small
    for table in ("feature_log", "user_profiles"):
        tag(settings, table, "march")
    store.config.offline_store.tag = "march"
    first = retrieved(store, what.entities)
    told = first.schema.metadata
    pinned = {table: snapshot(settings, table) for table in ("feature_log", "user_profiles")}
    assert json.loads(told[SNAPSHOTS.encode()]) == pinned
    assert told[SHA256.encode()].decode() == dataset_hash(first)
    assert retrieved(store, what.entities).schema.metadata == told

    store.config.offline_store.tag = None
    turned = np.random.default_rng(2)
    rewrite_records(settings, "feature_log", lambda rows: rows.take(pa.array(turned.permutation(len(rows)))))
    assert snapshot(settings, "feature_log") != pinned["feature_log"]
    compacted = retrieved(store, what.entities)
    assert compacted.schema.metadata[SHA256.encode()] == told[SHA256.encode()]
    assert compacted.schema.metadata[SNAPSHOTS.encode()] != told[SNAPSHOTS.encode()]

    moment = next(m for m in what.moments if m.time is not None)
    put(settings, [Row(moment.key, moment.time, moment.time, (9, 10**6), 10**6)], "later")
    assert retrieved(store, what.entities).schema.metadata[SHA256.encode()] != told[SHA256.encode()]
    store.config.offline_store.tag = "march"
    assert retrieved(store, what.entities).schema.metadata == told


def test_a_job_reads_what_it_was_pinned_to(small: tuple[Settings, FeatureStore, Planted]) -> None:
    settings, store, what = small
    job = store.get_historical_features(what.entities, FEATURES)
    before = job.to_arrow()
    moment = next(m for m in what.moments if m.time is not None)
    put(settings, [Row(moment.key, moment.time, moment.time, (9, 10**6), 10**6)], "later")
    assert job.to_arrow().equals(before, check_metadata=True)


def test_a_log_from_before_the_clock_was_written_counts_by_event_time(tmp_path: Path) -> None:
    import dataclasses

    from lakehouse.migrate import apply
    from lakehouse.tables import FEATURE_LOG, TABLES

    old = dataclasses.replace(FEATURE_LOG, columns=tuple(c for c in FEATURE_LOG.columns if c.name != "created"))
    settings = a_lake(tmp_path / "other")
    settings = dataclasses.replace(settings, lake=dataclasses.replace(settings.lake, folder=tmp_path / "lake"))
    apply(settings, {**TABLES, "feature_log": old})
    what = planted(300, 100, users=5, nulls=False)
    rows = [dataclasses.replace(row, created=None) for row in what.rows]
    with open_catalog(settings) as catalog:
        held = load_table(catalog, settings, "feature_log")
        schema = held.schema().as_arrow()
        columns = {
            "topic_partition": [row.tie[0] for row in rows],
            "topic_offset": [row.tie[1] for row in rows],
            "user_id": [row.key for row in rows],
            "event_time": pa.array([row.event_time for row in rows], UTC),
            "actions_10m": [row.name for row in rows],
        }
        held.append(pa.table([pa.array(columns.get(f.name, [None] * len(rows)), f.type) for f in schema], schema=schema))
    changed = [change for change in apply(settings) if change.action != "keep"]
    assert [change.detail for change in changed] == ["add column created timestamptz"]
    got = retrieved(a_store(settings), what.entities, ["user_activity:actions_10m"])
    assert got["actions_10m"].to_pylist() == known_then(rows, what.moments)
    put(settings, [Row("new", START, START + DAY, (0, 10**6), 10**6)], "with the clock")
    known_at_once = pd.DataFrame({"user_id": ["new"], "event_timestamp": [pd.Timestamp(START, unit="us", tz="UTC")]})
    assert retrieved(a_store(settings), known_at_once, ["user_activity:actions_10m"])["actions_10m"].to_pylist() == [None]
    got = retrieved(a_store(settings), what.entities, ["user_activity:actions_10m"])
    assert got["actions_10m"].to_pylist() == known_then(rows, what.moments)


def test_the_window_of_times_and_few_keys_are_pushed_down(small: tuple[Settings, FeatureStore, Planted]) -> None:
    """A file without a matching row is not opened: its loss is not noticed."""
    settings, store, _ = small
    append(settings, "feature_log", pa.table({"topic_partition": pa.array([1], pa.int32())}), "nulls")
    far = [Row("it's", START + 300 * DAY, START + 300 * DAY, (1, 10**7), 5)]
    put(settings, far, "far")
    entities = pd.DataFrame({"user_id": ["it's"], "event_timestamp": [pd.Timestamp(START + 301 * DAY, unit="us", tz="UTC")]})
    with open_catalog(settings) as catalog:
        files = [task.file.file_path for task in load_table(catalog, settings, "feature_log").scan().plan_files()]
    kept = [path for path in files if pq.ParquetFile(path.removeprefix("file://")).read(["user_id"])["user_id"].to_pylist() == ["it's"]]
    for path in set(files) - set(kept):
        Path(path.removeprefix("file://")).unlink()
    assert retrieved(store, entities, ["recent:actions_1h"])["actions_1h"].to_pylist() == [5]
    with pytest.raises(TrainingSetRefused, match=r"table `feature_log`, snapshot \d+: a file of it is gone .*; if the snapshot expired"):
        retrieved(store, entities.assign(user_id="user_0000"), ["user_activity:actions_1h"])
