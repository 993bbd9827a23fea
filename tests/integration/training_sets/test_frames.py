"""What may be asked for and what comes back: frames of any kind, names, types, on-demand features, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureService, FeatureStore, Field, RequestSource
from feast.errors import FeatureNameCollisionError
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64

from features.dataset import SHA256, SNAPSHOTS, dataset_hash
from features.pinned import TrainingSetRefused
from infra.config import Settings
from tests.training_sets import FEATURES, START, Planted, a_lake, a_store, fill, planted, retrieved, tag
from tests.unit.features.known_then import known_then


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


def test_feast_reads_a_saved_training_set_again(small: tuple[Settings, FeatureStore, Planted], tmp_path: Path) -> None:
    _, store, what = small
    job = store.get_historical_features(what.entities, FEATURES)
    with pytest.warns(RuntimeWarning, match="experimental"):
        saved = store.create_saved_dataset(job, "march", SavedDatasetFileStorage(str(tmp_path / "set.parquet")))
    again = saved.to_df().sort_values("event_timestamp", ignore_index=True)
    first = job.to_df().sort_values("event_timestamp", ignore_index=True)
    assert again["actions_10m"].notna().sum() > 100
    for name in ("event_timestamp", "actions_10m"):
        assert sorted(again[name].dropna()) == sorted(first[name].dropna())


def test_a_source_that_does_not_tell_when_rows_became_known_is_refused_while_the_cut_off_is_on(
    small: tuple[Settings, FeatureStore, Planted],
) -> None:
    _, store, what = small
    view = store.get_feature_view("user_activity")
    assert view.batch_source is not None
    view.batch_source.created_timestamp_column = ""
    store.apply([view])
    refused(
        store, what.entities, "table `feature_log`: expected its source to name the column .* or set offline_store.created_cutoff to false"
    )
    store.config.offline_store.created_cutoff = False
    assert retrieved(store, what.entities).num_rows == len(what.moments)


def refused(store: FeatureStore, entities: Any, says: str, features: list[str] = FEATURES) -> None:
    with pytest.raises(TrainingSetRefused, match=says):
        retrieved(store, entities, features)


def test_no_two_columns_of_an_answer_have_one_name(small: tuple[Settings, FeatureStore, Planted]) -> None:
    _, store, what = small
    both = ["user_activity:actions_10m", "recent:actions_1h"]
    given = what.entities.assign(actions_10m=99)
    for frame in (given, pa.Table.from_pandas(given, preserve_index=False)):
        refused(store, frame, "no column named as a feature .*, got 'actions_10m'; rename or drop it, or pass full_", both)
        assert retrieved(store, frame, both, full_feature_names=True)["actions_10m"].to_pylist() == [99] * len(given)
    named = what.entities.assign(recent__actions_1h=99)
    assert retrieved(store, named, both)["recent__actions_1h"].to_pylist() == [99] * len(named)
    with pytest.raises(TrainingSetRefused, match=r"a feature that is asked for, got 'recent__actions_1h'; rename or drop it$"):
        retrieved(store, named, both, full_feature_names=True)
    for full in (False, True):
        with pytest.raises(FeatureNameCollisionError, match=r"Duplicate features named (user_activity__)?actions_10m"):
            retrieved(store, what.entities, [both[0], both[0]], full_feature_names=full)


def test_nor_have_features_that_feast_counts_out_of_others(small: tuple[Settings, FeatureStore, Planted]) -> None:
    _, store, what = small

    @on_demand_feature_view(  # type: ignore[untyped-decorator]
        sources=[store.get_feature_view("user_activity")[["actions_1h"]]], schema=[Field(name="times", dtype=Float64)]
    )
    def doubled(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"times": inputs["actions_1h"] * 2.0})

    with pytest.warns(RuntimeWarning, match="experimental"):
        store.apply([doubled])
    refused(store, what.entities.assign(times=1.0), "feature that is asked for, got 'times'; rename", ["doubled:times"])
    says = "features: expected each name once, got 'actions_1h' of two views; give one view another name, or pass full_feature_names=True"
    refused(store, what.entities, says, ["recent:actions_1h", "doubled:times"])


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
