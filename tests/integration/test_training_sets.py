"""Feast's get_historical_features over real Iceberg tables, judged by the definition, row by row: nothing leaks, nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureService, FeatureStore, Field, RequestSource
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64

from features.apply import write_configuration
from features.dataset import SHA256, SNAPSHOTS, dataset_hash
from features.pinned import TrainingSetRefused
from infra.config import ROOT, Settings
from lakehouse.append import append, overwrite
from lakehouse.catalog import load_table, open_catalog
from lakehouse.read import read, snapshot
from tests.lake import rewrite_records
from tests.training_sets import DAY, PROFILE_TTL, START, TTL, UTC, Planted, a_lake, a_store, fill, planted, put
from tests.unit.features.known_then import Moment, Row, known_then

FEATURES = ["user_activity:actions_10m", "user_activity:seconds_since_action", "recent:actions_1h", "user_profile:channel"]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, FeatureStore, Planted]:
    """100,000 feature rows and what was planted among them."""
    settings, what = a_lake(tmp_path_factory.mktemp("large")), planted(100_000, 12_000)
    fill(settings, what)
    return settings, a_store(settings), what


@pytest.fixture
def small(tmp_path: Path) -> tuple[Settings, FeatureStore, Planted]:
    """A lake that a test may change."""
    settings, what = a_lake(tmp_path / "state"), planted(3000, 600, seed=1, users=60, nulls=False)
    fill(settings, what)
    return settings, a_store(settings), what


@pytest.fixture
def as_it_was(large: tuple[Settings, FeatureStore, Planted]) -> Any:
    """The shared store's options, put back afterwards."""
    options = large[1].config.offline_store
    yield options
    options.tag, options.created_cutoff = None, True


def retrieved(store: FeatureStore, entities: Any, features: list[str] | Any = FEATURES, **more: Any) -> pa.Table:
    return store.get_historical_features(entities, features, **more).to_arrow()


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


def tag(settings: Settings, table: str, name: str) -> None:
    with open_catalog(settings) as catalog:
        held = load_table(catalog, settings, table)
        newest = held.current_snapshot()
        assert newest is not None
        held.manage_snapshots().create_tag(newest.snapshot_id, name).commit()


def test_a_job_reads_what_it_was_pinned_to(small: tuple[Settings, FeatureStore, Planted]) -> None:
    settings, store, what = small
    job = store.get_historical_features(what.entities, FEATURES)
    before = job.to_arrow()
    moment = next(m for m in what.moments if m.time is not None)
    put(settings, [Row(moment.key, moment.time, moment.time, (9, 10**6), 10**6)], "later")
    assert job.to_arrow().equals(before, check_metadata=True)


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


def test_frames_of_any_kind_give_the_same(small: tuple[Settings, FeatureStore, Planted]) -> None:
    _, store, what = small
    entities = what.entities
    wanted = retrieved(store, entities)
    naive = entities.assign(event_timestamp=entities["event_timestamp"].dt.tz_localize(None))
    texts = entities.assign(event_timestamp=entities["event_timestamp"].map(lambda time: time.isoformat(timespec="microseconds")))
    elsewhere = entities.assign(event_timestamp=entities["event_timestamp"].dt.tz_convert("Asia/Tokyo"))
    finer = pd.to_datetime(entities["event_timestamp"]).dt.as_unit("ns") + pd.Timedelta(999, "ns")
    nanoseconds = entities.assign(event_timestamp=finer)
    called = entities.rename(columns={"event_timestamp": "when"})
    arrow = pa.Table.from_pandas(entities, preserve_index=False)
    for frame in (naive, texts, elsewhere, nanoseconds, called, arrow, pa.Table.from_pandas(naive), arrow.slice(0, 300)):
        got = retrieved(store, frame)
        assert got.select(["actions_10m", "actions_1h", "channel"]).equals(
            wanted.select(["actions_10m", "actions_1h", "channel"]).slice(0, len(got))
        )
        assert got.column(1).type.tz == "UTC"


def test_rows_stay_as_they_were_given(small: tuple[Settings, FeatureStore, Planted]) -> None:
    _, store, what = small
    entities = pd.concat([what.entities.tail(50), what.entities.head(20), what.entities.tail(50)])
    got = store.get_historical_features(entities, FEATURES).to_df()
    pd.testing.assert_frame_equal(got[["user_id", "event_timestamp", "number"]], entities.reset_index(drop=True))
    pd.testing.assert_frame_equal(got.head(50), got.tail(50).reset_index(drop=True))


def test_integers_with_nulls_stay_integers_in_arrow_and_are_floats_in_pandas_as_feasts(
    small: tuple[Settings, FeatureStore, Planted],
) -> None:
    _, store, what = small
    job = store.get_historical_features(what.entities, FEATURES)
    assert job.to_arrow().schema.field("actions_10m").type == pa.int64()
    assert job.to_arrow()["actions_10m"].null_count > 0
    assert job.to_df()["actions_10m"].dtype == np.float64


@pytest.mark.parametrize("rows", [0, 1])
def test_where_nothing_is_known_there_are_typed_nulls(tmp_path: Path, rows: int) -> None:
    settings = a_lake(tmp_path / "state")
    store = a_store(settings)
    entities = pd.DataFrame({"user_id": ["nobody"], "event_timestamp": [pd.Timestamp(START, unit="us", tz="UTC")]})
    got = retrieved(store, entities.head(rows))
    assert got["actions_10m"].type == pa.int64()
    assert got["channel"].to_pylist() == [None] * rows
    assert json.loads(got.schema.metadata[SNAPSHOTS.encode()]) == {"feature_log": None, "user_profiles": None}
    fill(settings, planted(500, 1, users=5))
    assert retrieved(store, entities.head(rows)).select(got.column_names).equals(got)


def test_a_service_and_names_of_views(small: tuple[Settings, FeatureStore, Planted]) -> None:
    _, store, what = small
    whole = retrieved(store, what.entities, store.get_feature_service("purchase_30m"))
    assert whole.num_columns == 3 + 26
    named = retrieved(store, what.entities, FEATURES, full_feature_names=True)
    assert named.column_names[3:] == [ref.replace(":", "__") for ref in FEATURES]


def test_a_key_may_have_another_name_in_the_frame(small: tuple[Settings, FeatureStore, Planted]) -> None:
    _, store, what = small
    activity = store.get_feature_view("user_activity")
    service = FeatureService(
        name="as_buyer", features=[activity.with_name("buyers").with_join_key_map({"user_id": "buyer"})[["actions_10m"]]]
    )
    store.apply([service])
    got = retrieved(store, what.entities.rename(columns={"user_id": "buyer"}), service, full_feature_names=True)
    assert got["buyers__actions_10m"].to_pylist() == known_then(what.rows, what.moments)


def test_on_demand_features_are_counted_and_part_of_the_hash(small: tuple[Settings, FeatureStore, Planted]) -> None:
    _, store, what = small

    activity = store.get_feature_view("user_activity")[["actions_10m"]]
    asked = RequestSource(name="asked", schema=[Field(name="factor", dtype=Float64)])

    @on_demand_feature_view(sources=[activity, asked], schema=[Field(name="times", dtype=Float64)])  # type: ignore[untyped-decorator]
    def multiplied(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"times": inputs["actions_10m"] * inputs["factor"]})

    with pytest.warns(RuntimeWarning, match="experimental"):
        store.apply([multiplied])
    got = retrieved(store, what.entities.assign(factor=2.0), ["user_activity:actions_10m", "multiplied:times"])
    assert [None if v is None else v * 2.0 for v in got["actions_10m"].to_pylist()] == [
        None if v is None or np.isnan(v) else v for v in got["times"].to_pylist()
    ]
    assert got.schema.metadata[SHA256.encode()].decode() == dataset_hash(got)


def test_a_training_set_can_be_saved_and_is_described(small: tuple[Settings, FeatureStore, Planted], tmp_path: Path) -> None:
    _, store, what = small
    job = store.get_historical_features(what.entities, FEATURES)
    assert job.metadata is not None
    assert job.metadata.features == FEATURES
    assert set(job.metadata.keys) == {"user_id", "number"}
    times = [moment.time for moment in what.moments if moment.time is not None]
    assert job.metadata.min_event_timestamp == pd.Timestamp(min(times), unit="us", tz="UTC")
    assert job.metadata.max_event_timestamp == pd.Timestamp(max(times), unit="us", tz="UTC")
    file = tmp_path / "set.parquet"
    job.persist(SavedDatasetFileStorage(str(file)))
    assert dataset_hash(pq.read_table(file)) == job.to_arrow().schema.metadata[SHA256.encode()].decode()


def refused(store: FeatureStore, entities: Any, says: str, features: list[str] = FEATURES) -> None:
    with pytest.raises(TrainingSetRefused, match=says):
        retrieved(store, entities, features)


def test_what_cannot_be_answered_says_what_to_pass_instead(small: tuple[Settings, FeatureStore, Planted]) -> None:
    settings, store, what = small
    entities = what.entities
    refused(
        store,
        "SELECT user_id FROM user_actions",
        r"expected a pandas DataFrame .* got a text \(SQL\); .* pass its result",
    )
    refused(store, None, "expected a pandas DataFrame or an Arrow table .* got NoneType")
    refused(store, entities.drop(columns="user_id"), "expected column 'user_id' for view user_activity, got event_timestamp, number")
    refused(store, entities.assign(user_id=pd.Series([["list"]] * len(entities))), "user_id: expected string as in the table, got list")
    refused(store, entities.assign(number=pd.Series(["a", *[1] * (len(entities) - 1)])), "expected columns of one type each")
    refused(store, entities.assign(event_timestamp="soon"), "column event_timestamp: expected times, got object: .* convert it with")
    refused(store, entities, "expected column 'history', got topic_partition", ["user_activity:history"])
    tag(settings, "feature_log", "april")
    store.config.offline_store.tag = "may"
    refused(store, entities, "table `feature_log`: expected a tag 'may', got only april, main; make the tag, or set offline_store.tag")


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
    put(settings, [Row("new", START, START + DAY, (0, 10**6), 10**6)], "with the clock")
    known_at_once = pd.DataFrame({"user_id": ["new"], "event_timestamp": [pd.Timestamp(START, unit="us", tz="UTC")]})
    assert retrieved(a_store(settings), known_at_once, ["user_activity:actions_10m"])["actions_10m"].to_pylist() == [None]
    got = retrieved(a_store(settings), what.entities, ["user_activity:actions_10m"])
    assert got["actions_10m"].to_pylist() == known_then(rows, what.moments)


def test_plain_feast_in_a_process_of_its_own_uses_it(small: tuple[Settings, FeatureStore, Planted], tmp_path: Path) -> None:
    settings, _, what = small
    what.entities.to_parquet(tmp_path / "entities.parquet")
    code = (
        "import sys, pandas as pd; from feast import FeatureStore;"
        "job = FeatureStore(sys.argv[1]).get_historical_features(pd.read_parquet(sys.argv[2]), ['user_activity:actions_10m']);"
        "print(type(job).__name__, job.to_arrow().schema.metadata[b'streamhouse.sha256'].decode())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(settings.feast_repo), str(tmp_path / "entities.parquet")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    wanted = retrieved(a_store(settings), what.entities, ["user_activity:actions_10m"]).schema.metadata[SHA256.encode()].decode()
    assert done.stdout.split() == ["StreamhouseRetrievalJob", wanted]


def test_the_committed_configuration_names_our_store() -> None:
    assert type(FeatureStore(str(ROOT / "features")).config.offline_store).__name__ == "StreamhouseOfflineStoreConfig"


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
