from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest

from infra.config import Settings
from lakehouse.append import append, overwrite
from lakehouse.catalog import load_table, open_catalog
from lakehouse.errors import LakehouseError
from lakehouse.read import read


def users(*names: str) -> pa.Table:
    return pa.table({"user_id": list(names), "known_from": [dt.datetime(2024, 1, 1, tzinfo=dt.UTC)] * len(names)})


def held(settings: Settings) -> list[str]:
    return sorted(read(settings, "user_profiles")["user_id"].to_pylist())


def test_a_batch_is_added_once(lake: Settings) -> None:
    assert append(lake, "user_profiles", users("a", "b"), "batch-1")
    assert not append(lake, "user_profiles", users("a", "b"), "batch-1")
    assert append(lake, "user_profiles", users("c"), "batch-2")
    assert held(lake) == ["a", "b", "c"]


def test_an_overwrite_replaces_in_one_commit_and_once(lake: Settings) -> None:
    assert overwrite(lake, "user_profiles", users("a"), "1")
    assert overwrite(lake, "user_profiles", users("b", "c"), "2")
    assert not overwrite(lake, "user_profiles", users("x"), "2")
    assert held(lake) == ["b", "c"]
    assert overwrite(lake, "user_profiles", users("d"), "3", where="user_id = 'b'")
    assert held(lake) == ["c", "d"]


def test_the_feature_log_is_written_by_topic_partition(lake: Settings) -> None:
    rows = pa.table({"topic_partition": [0, 1, 0], "topic_offset": [0, 0, 1], "actions_10m": [1, 2, 3]})
    assert append(lake, "feature_log", rows, "1")
    with open_catalog(lake) as catalog:
        files = list(load_table(catalog, lake, "feature_log").scan().plan_files())
    assert sorted(task.file.partition[0] for task in files) == [0, 1]
    assert read(lake, "feature_log", ["actions_10m"], "topic_partition = 1").to_pylist() == [{"actions_10m": 2}]


def test_a_column_that_is_not_declared_is_refused(lake: Settings) -> None:
    with pytest.raises(LakehouseError, match=r"expected columns among user_id, channel.*got 'colour'"):
        append(lake, "user_profiles", users("a").append_column("colour", [["red"]]), "1")


def test_a_value_that_does_not_fit_is_refused(lake: Settings) -> None:
    rows = pa.table({"topic_partition": ["zero"]})
    with pytest.raises(LakehouseError, match="column topic_partition: expected int32, got string"):
        append(lake, "feature_log", rows, "1")
