"""Feast's get_historical_features over real Iceberg tables, judged by the definition, row by row: nothing leaks, nothing is lost."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, ValueType
from feast.infra.data_sources.contrib.iceberg_catalog.iceberg_source import IcebergSource
from feast.types import Int64

from features.apply import feature_store, write_configuration
from infra.config import Settings
from lakehouse import migrate
from lakehouse.append import overwrite
from lakehouse.catalog import open_catalog
from lakehouse.iceberg import arrow_schema
from lakehouse.read import read
from lakehouse.tables import Column, Table
from tests.training_sets import FEATURES, PROFILE_TTL, START, TTL, UTC, Planted, a_lake, a_store, fill, planted, retrieved
from tests.unit.features.known_then import Moment, Row, known_then


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, FeatureStore, Planted]:
    """100,000 feature rows and what was planted among them."""
    settings, what = a_lake(tmp_path_factory.mktemp("large")), planted(100_000, 12_000)
    fill(settings, what)
    return settings, a_store(settings), what


@pytest.fixture
def as_it_was(large: tuple[Settings, FeatureStore, Planted]) -> Any:
    """The shared store's options, put back afterwards."""
    options = large[1].config.offline_store
    yield options
    options.tag, options.created_cutoff = None, True


def leaks(what: Planted, column: pa.ChunkedArray, moments: list[Moment], time_to_live: int = 0) -> int:
    """How many values come from a row that was not known at the moment, is another user's, or too old. Independent of the oracle."""
    found = 0
    for name, moment in zip(column.to_pylist(), moments, strict=True):
        if name is not None:
            row = what.rows[name]
            assert row.event_time is not None
            known = row.event_time if row.created is None else row.created
            too_old = time_to_live and moment.time is not None and moment.time - row.event_time > time_to_live
            found += moment.time is None or max(row.event_time, known) > moment.time or row.key != moment.key or bool(too_old)
    return found


@pytest.fixture(scope="module")
def careless(large: tuple[Settings, FeatureStore, Planted]) -> list[int | None]:
    """What a join would take that does not ask when a row became known."""
    return known_then(large[2].rows, large[2].moments, created_cutoff=False)


@pytest.fixture(scope="module")
def careful(large: tuple[Settings, FeatureStore, Planted]) -> list[int | None]:
    """What is right."""
    return known_then(large[2].rows, large[2].moments)


def test_100_000_rows_leak_nothing_and_equal_the_definition(
    large: tuple[Settings, FeatureStore, Planted], careful: list[int | None], careless: list[int | None]
) -> None:
    _, store, what = large
    got = retrieved(store, what.entities)
    assert got["number"].to_pylist() == list(range(len(what.moments)))
    assert leaks(what, got["actions_10m"], what.moments) == 0
    assert leaks(what, got["actions_1h"], what.moments, TTL) == 0
    recent = known_then(what.rows, what.moments, TTL)
    assert got["actions_10m"].to_pylist() == careful
    assert got["actions_1h"].to_pylist() == recent
    assert got["seconds_since_action"].to_pylist() == [None if name is None or name % 3 == 0 else name / 7 for name in careful]
    profiles = known_then(what.profiles, what.moments, PROFILE_TTL)
    assert got["channel"].to_pylist() == [None if name is None else f"channel {name}" for name in profiles]
    # what was planted is there to be met
    assert sum(a != b for a, b in zip(careful, careless, strict=True)) > 1000
    assert sum(a is not None and b is None for a, b in zip(careful, recent, strict=True)) > 500
    assert None in careful
    assert None in profiles


def test_without_the_cut_off_the_count_of_leaks_is_not_zero(
    large: tuple[Settings, FeatureStore, Planted], careless: list[int | None], as_it_was: Any
) -> None:
    _, store, what = large
    as_it_was.created_cutoff = False
    got = retrieved(store, what.entities)
    assert got["actions_10m"].to_pylist() == careless
    assert leaks(what, got["actions_10m"], what.moments) > 1000
    asked_for = retrieved(store, what.entities, filter_by_created_timestamp=True)
    assert leaks(what, asked_for["actions_10m"], what.moments) == 0


def test_a_join_that_looks_a_minute_ahead_is_found_out(large: tuple[Settings, FeatureStore, Planted], careful: list[int | None]) -> None:
    _, store, what = large
    ahead = what.entities.assign(event_timestamp=what.entities["event_timestamp"] + timedelta(minutes=1))
    got = retrieved(store, ahead)
    assert leaks(what, got["actions_10m"], what.moments) > 100
    assert got["actions_10m"].to_pylist() != careful


def test_it_agrees_with_feasts_own_store(small: tuple[Settings, FeatureStore, Planted]) -> None:
    settings, store, what = small
    # of rows that are equal in both times Feast takes any: leave it one of each
    one_each = {row.name for row in {(row.key, row.event_time, row.created): row for row in what.rows}.values()}
    rows = read(settings, "feature_log")
    kept = [name in one_each for name in rows["actions_10m"].to_pylist()]
    overwrite(settings, "feature_log", rows.filter(pa.array(kept)), "one each")
    file = settings.feast_repo / "plain.yaml"
    file.write_text(write_configuration(settings).read_text("utf-8").replace("features.offline_store.StreamhouseOfflineStore", "duckdb"))
    plain = FeatureStore(fs_yaml_file=file)
    entities = what.entities.drop_duplicates(["user_id", "event_timestamp"])
    for full_names in (False, True):
        theirs = plain.get_historical_features(entities, FEATURES, full_names, filter_by_created_timestamp=True).to_df()
        ours = store.get_historical_features(entities, FEATURES, full_names).to_df()
        theirs = theirs.sort_values("number", ignore_index=True)
        assert theirs.notna().sum().min() > 100
        pd.testing.assert_frame_equal(ours, theirs.astype({"event_timestamp": ours["event_timestamp"].dtype}))


def test_rows_of_equal_times_without_log_positions_are_told_apart_by_their_values(small: tuple[Settings, FeatureStore, Planted]) -> None:
    settings, store, _ = small
    at = pa.array([START] * 40, UTC)
    same = pa.table(
        {"known_from": at, "created": at, "user_id": ["twice"] * 40, "channel": [f"c{i}" for i in range(40)], "cohort": ["x"] * 40}
    )
    entities = pd.DataFrame({"user_id": ["twice"], "event_timestamp": [pd.Timestamp(START, unit="us", tz="UTC")]})
    got = set()
    for seed in range(5):
        overwrite(settings, "user_profiles", same.take(pa.array(np.random.default_rng(seed).permutation(40))), f"turned-{seed}")
        got |= set(retrieved(store, entities, ["user_profile:channel"])["channel"].to_pylist())
        both = retrieved(store, entities, ["user_profile:cohort", "user_profile:channel"])
        got |= set(both["channel"].to_pylist())
    assert len(got) == 1
    log = read(settings, "feature_log").slice(0, 40)
    nowhere = {"topic_partition": pa.array([None] * 40, pa.int32()), "topic_offset": pa.array([None] * 40, pa.int64())}
    rest = {"user_id": ["twice"] * 40, "event_time": at, "created": at, "actions_10m": range(40)}
    assert len(log) == 40
    names = set()
    for seed in range(5):
        rows = pa.table({**nowhere, **rest}).take(pa.array(np.random.default_rng(seed).permutation(40)))
        overwrite(settings, "feature_log", rows, f"nowhere-{seed}")
        names |= set(retrieved(store, entities, ["user_activity:actions_10m"])["actions_10m"].to_pylist())
    assert len(names) == 1


@pytest.mark.parametrize(("rows", "cells", "at_once"), [(1, 1, 1), (700, 2000, 500)])
def test_however_little_is_read_at_a_time_the_answer_is_the_same(
    small: tuple[Settings, FeatureStore, Planted], monkeypatch: pytest.MonkeyPatch, rows: int, cells: int, at_once: int
) -> None:
    _, store, what = small
    wanted = retrieved(store, what.entities)
    monkeypatch.setattr("features.pinned._ROWS", rows)
    monkeypatch.setattr("features.pinned._CELLS", cells)
    monkeypatch.setattr("features.point_in_time._AT_ONCE", at_once)
    assert retrieved(store, what.entities).equals(wanted, check_metadata=True)


def test_two_keys_numbers_times_without_a_zone_and_renamed_columns(tmp_path: Path) -> None:
    columns = {"shop": "long", "who": "string", "at": "timestamp", "told": "timestamp", "n": "long"}
    visits = Table("visits", "Visits.", "tests", "none", tuple(Column(name, kind, name, "-") for name, kind in columns.items()))
    settings, random = a_lake(tmp_path / "state"), np.random.default_rng(3)
    migrate.apply(settings, {"visits": visits})
    rows = []
    for i in range(2000):
        at = int(random.integers(0, 500))
        rows.append(Row((int(random.integers(0, 5)), f"u{random.integers(0, 5)}"), at, at + int(random.integers(0, 50)), (i,), i))
    rows = list({(row.key, row.event_time, row.created): row for row in rows}.values())
    with open_catalog(settings) as catalog:
        held = catalog.load_table((settings.lake.namespace, "visits"))
        values = [
            [row.key[0] for row in rows],
            [row.key[1] for row in rows],
            [row.event_time for row in rows],
            [row.created for row in rows],
            [row.name for row in rows],
        ]
        schema = arrow_schema(visits)
        held.append(pa.table([pa.array(of, field.type) for of, field in zip(values, schema, strict=True)], schema=schema))
    lake = settings.lake
    source = IcebergSource(
        name="visits",
        catalog_type="sql",
        catalog_name=lake.catalog,
        warehouse=lake.warehouse,
        namespace=lake.namespace,
        table="visits",
        catalog_properties={"uri": f"sqlite:///{lake.database}"},
        timestamp_field="moment",
        created_timestamp_column="told",
        field_mapping={"who": "visitor", "at": "moment", "n": "number_of_row"},
    )
    shop = Entity(name="shop", join_keys=["shop"], value_type=ValueType.INT64)
    visitor = Entity(name="visitor", join_keys=["visitor"], value_type=ValueType.STRING)
    view = FeatureView(
        name="visits",
        entities=[shop, visitor],
        ttl=timedelta(microseconds=100),
        schema=[Field(name="number_of_row", dtype=Int64)],
        source=source,
    )
    store = feature_store(settings)
    store.apply([shop, visitor, view])
    moments = [Moment((int(random.integers(0, 6)), f"u{random.integers(0, 6)}"), int(random.integers(-10, 700))) for _ in range(1000)]
    entities = pd.DataFrame(
        {
            "visitor": [m.key[1] for m in moments],
            "shop": [m.key[0] for m in moments],
            "event_timestamp": np.array([m.time for m in moments], "datetime64[us]"),
        }
    )
    wanted = known_then(rows, moments, 100)
    assert retrieved(store, entities, ["visits:number_of_row"])["number_of_row"].to_pylist() == wanted
    assert 100 < sum(name is None for name in wanted) < 900
