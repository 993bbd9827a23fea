from __future__ import annotations

import threading
from typing import Any

import pyarrow as pa
import pytest

from infra.config import Settings
from lakehouse.append import append
from lakehouse.catalog import known_tables, load_table, open_catalog
from lakehouse.errors import LakehouseError
from lakehouse.query import query
from lakehouse.read import read
from lakehouse.scores import OFFSETS, SHA256, Filled, OvertakenError, add, filled, made_ready
from lakehouse.tables import TABLES, declared, is_scores_table, scores_table
from tests.lake import rewrite_records

NAME = "scores_buys_v2"


def rows(*offsets: int, partition: int = 0) -> pa.Table:
    return pa.table(
        {
            "topic_partition": pa.array([partition] * len(offsets), pa.int32()),
            "topic_offset": pa.array(offsets, pa.int64()),
            "event_time": pa.array([1_704_067_200_000_000] * len(offsets), pa.timestamp("us", "UTC")),
            "score": pa.array([0.5] * len(offsets), pa.float32()),
            "features": pa.array([[1.0, 2.0]] * len(offsets), pa.list_(pa.float32())),
        }
    )


@pytest.fixture
def made(lake: Settings) -> Settings:
    """A lake with an empty table of scores."""
    assert made_ready(lake, "buys", "2", "a" * 64) == NAME
    return lake


def test_a_table_of_scores_is_known_by_its_name_and_says_which_model_filled_it(made: Settings) -> None:
    table = declared(NAME)
    assert table == scores_table("buys", "2")
    assert all(column.doc.endswith(".") and column.unit for column in table.columns)
    with open_catalog(made) as catalog:
        held = load_table(catalog, made, NAME)
        assert known_tables(catalog, made) == sorted([*TABLES, NAME])
    said = [held.properties[name] for name in ("streamhouse.model-name", "streamhouse.model-version", SHA256)]
    assert said == ["buys", "2", "a" * 64]
    assert held.properties["commit.retry.num-retries"] == "0"
    assert query(made, f"SELECT count(*) AS n FROM {NAME.upper()}").to_pylist() == [{"n": 0}]
    with pytest.raises(LakehouseError, match=f"table `scores_buys_v3`: expected one of account_commands_dlq, .*{NAME}"):
        query(made, "SELECT 1 FROM scores_buys_v3")


def test_every_version_of_every_model_has_a_name_of_its_own() -> None:
    pairs = [("a", "1"), ("a_v1", "1"), ("a", "11"), ("a_v1_v1", "1"), ("a_v11", "1")]
    assert len({scores_table(*pair).name for pair in pairs}) == len(pairs)
    assert [declared(scores_table(*pair).name) for pair in pairs] == [scores_table(*pair) for pair in pairs]
    assert not any(is_scores_table(name) for name in TABLES)


@pytest.mark.parametrize(("model", "version"), [("Buys", "1"), ("buys", "0"), ("buys", "1; x"), ("", "1"), ("b-s", "1"), ("a", "1_v1")])
def test_what_cannot_name_a_table_is_refused(model: str, version: str) -> None:
    with pytest.raises(LakehouseError, match="expected a model's name of small letters"):
        scores_table(model, version)


def test_another_file_of_the_model_is_refused_and_the_same_changes_nothing(made: Settings) -> None:
    with open_catalog(made) as catalog:
        before = load_table(catalog, made, NAME).metadata_location
        made_ready(made, "buys", "2", "a" * 64)
        with pytest.raises(LakehouseError, match=f"expected scores of the model with sha256 {'b' * 64}, got those of {'a' * 64}"):
            made_ready(made, "buys", "2", "b" * 64)
        assert load_table(catalog, made, NAME).metadata_location == before


def test_rows_and_how_far_they_fill_the_table_come_in_one_snapshot(made: Settings) -> None:
    empty = filled(made, NAME)
    assert empty == Filled(None, {})
    first = add(made, NAME, rows(0, 2), empty, {0: 3}, {"streamhouse.made-by": "test"})
    second = add(made, NAME, pa.concat_tables([rows(3), rows(7, partition=2)]), first, {0: 5, 2: 8}, {})
    third = add(made, NAME, rows(), second, {0: 6, 2: 8}, {})  # only refused records came
    assert (first.offsets, second.offsets, third.offsets) == ({0: 3}, {0: 5, 2: 8}, {0: 6, 2: 8})
    assert filled(made, NAME) == third
    assert sorted(read(made, NAME)["topic_offset"].to_pylist()) == [0, 2, 3, 7]
    with open_catalog(made) as catalog:
        said: list[Any] = [snapshot.summary or {} for snapshot in load_table(catalog, made, NAME).snapshots()]
    assert [one.get(OFFSETS) for one in said] == ['{"0": 3}', '{"0": 5, "2": 8}', '{"0": 6, "2": 8}']
    assert said[0].get("streamhouse.made-by") == "test"


def test_of_two_that_continue_the_same_state_one_is_refused(made: Settings) -> None:
    state = filled(made, NAME)
    both = threading.Barrier(2, timeout=30)
    refused: list[OvertakenError] = []

    def meet() -> None:
        both.wait()

    def one(offset: int) -> None:
        try:
            add(made, NAME, rows(*range(offset)), state, {0: offset}, {}, meet)
        except OvertakenError as error:
            refused.append(error)

    threads = [threading.Thread(target=one, args=(offset,)) for offset in (3, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    held = read(made, NAME)["topic_offset"].to_pylist()
    assert sorted(held) == list(range(filled(made, NAME).offsets[0]))
    with pytest.raises(OvertakenError, match=r"expected it filled up to \{\}, as when this run began, got \{0: "):
        add(made, NAME, rows(0), state, {0: 1}, {})
    files = (made.lake.own_warehouse / made.lake.namespace / NAME / "data").rglob("*.parquet")
    assert len(list(files)) == 1


def test_a_rewrite_keeps_how_far_it_is_filled_and_anothers_rows_do_not(made: Settings) -> None:
    state = add(made, NAME, rows(0, 1), filled(made, NAME), {0: 2}, {})
    rewrite_records(made, NAME)
    assert filled(made, NAME).offsets == {0: 2}
    state = add(made, NAME, rows(2), filled(made, NAME), {0: 3}, {})
    assert state.offsets == {0: 3}
    append(made, NAME, rows(9), "a notebook")
    with pytest.raises(LakehouseError, match="what it holds is not known and cannot be continued"):
        filled(made, NAME)
