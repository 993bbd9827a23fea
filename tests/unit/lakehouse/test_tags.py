"""Named histories over real tables in a folder: what is tagged stays readable, and a name means the same later."""

from __future__ import annotations

import datetime as dt
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from infra.config import Settings, load_settings
from lakehouse import migrate
from lakehouse.append import append
from lakehouse.catalog import load_table, open_catalog
from lakehouse.errors import LakehouseError
from lakehouse.read import read, snapshot
from lakehouse.tags import held, histories, tag, tagged, untag

TABLES = ("user_profiles", "feature_log")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    own = load_settings({"STREAMHOUSE_STATE": str(tmp_path / "state")})
    migrate.apply(own)
    return own


def add(settings: Settings, *names: str) -> None:
    rows = pa.table({"user_id": list(names), "known_from": [dt.datetime(2024, 1, 1, tzinfo=dt.UTC)] * len(names)})
    append(settings, "user_profiles", rows, "-".join(names))


def expire_all_but_newest(settings: Settings) -> None:
    with open_catalog(settings) as catalog:
        table = load_table(catalog, settings, "user_profiles")
        table.maintenance.expire_snapshots().older_than(dt.datetime(2100, 1, 1, tzinfo=dt.UTC)).commit()


def users(settings: Settings, at: int | None) -> list[str]:
    return sorted(read(settings, "user_profiles", columns=["user_id"], snapshot_id=at)["user_id"].to_pylist())


def test_a_name_means_the_same_snapshots_later_and_expiry_leaves_them(settings: Settings) -> None:
    add(settings, "ada")
    first = tag(settings, "spring", TABLES)
    assert first == {"user_profiles": snapshot(settings, "user_profiles"), "feature_log": None}
    add(settings, "bob")
    append(settings, "feature_log", pa.table({"user_id": ["ada"]}), "later")
    untold = snapshot(settings, "user_profiles")
    add(settings, "cid")
    expire_all_but_newest(settings)
    assert tag(settings, "spring", TABLES) == first == tagged(settings, "spring", TABLES)
    assert users(settings, first["user_profiles"]) == ["ada"]
    with pytest.raises(LakehouseError, match="take one that has not expired"):
        users(settings, untold)
    assert [(one.name, dict(one.snapshots)) for one in histories(settings, TABLES)] == [("spring", dict(first))]


def test_what_was_named_half_is_named_anew(settings: Settings) -> None:
    add(settings, "ada")
    append(settings, "feature_log", pa.table({"user_id": ["ada"]}), "one")
    tag(settings, "cut", ("feature_log",))  # as if killed before the first table's turn
    append(settings, "feature_log", pa.table({"user_id": ["bob"]}), "two")
    assert tagged(settings, "cut", TABLES) is None
    assert tag(settings, "cut", TABLES) == {name: snapshot(settings, name) for name in TABLES}


def test_untag_lets_go(settings: Settings) -> None:
    add(settings, "ada")
    before = tag(settings, "spring", TABLES)
    assert untag(settings, "spring", TABLES)
    assert not untag(settings, "spring", TABLES)
    add(settings, "bob")
    expire_all_but_newest(settings)
    with pytest.raises(LakehouseError, match="take one that has not expired"):
        users(settings, before["user_profiles"])


def test_a_reader_holds_what_it_reads_for_as_long_as_it_reads(settings: Settings) -> None:
    add(settings, "ada")

    def read_until_it_fails() -> None:
        with held(settings, "reader-1", TABLES) as snapshots:
            add(settings, "bob")
            expire_all_but_newest(settings)
            assert users(settings, snapshots["user_profiles"]) == ["ada"]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        read_until_it_fails()
    assert histories(settings, TABLES) == []


def test_an_old_snapshot_is_held_for_a_day_from_now_and_is_no_history_that_a_person_named(settings: Settings) -> None:
    add(settings, "ada")
    day = 24 * 3600 * 1000
    with open_catalog(settings) as catalog:
        newest = load_table(catalog, settings, "user_profiles").current_snapshot()
        assert newest is not None
        with held(settings, "reader-1", TABLES, clock=lambda: newest.timestamp_ms + 3 * day):
            # upkeep takes a tag when its snapshot, not the tag, is older than this
            assert load_table(catalog, settings, "user_profiles").refs()["reader-1"].max_ref_age_ms == 4 * day
            assert histories(settings, TABLES) == []


def test_a_reader_holds_the_older_snapshot_that_it_reads(settings: Settings) -> None:
    add(settings, "ada")
    older = snapshot(settings, "user_profiles")
    assert older is not None
    add(settings, "bob")
    with held(settings, "reader-1", TABLES, {"user_profiles": older}) as snapshots:
        expire_all_but_newest(settings)
        assert users(settings, snapshots["user_profiles"]) == ["ada"]
    with pytest.raises(LakehouseError, match="got 12345; take one that has not expired"), held(settings, "r", TABLES, {TABLES[0]: 12345}):
        pass


def test_a_race_with_other_writers_is_tried_again(settings: Settings) -> None:
    add(settings, "ada")
    names = [f"race-{i}" for i in range(8)]
    threads = [threading.Thread(target=tag, args=(settings, name, TABLES)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.name for one in histories(settings, TABLES)] == names


@pytest.mark.parametrize("name", ["", "main", "main branch", "-x", "A", "a" * 101, "../x"])
def test_a_name_of_another_form_is_refused(settings: Settings, name: str) -> None:
    add(settings, "ada")
    with pytest.raises(LakehouseError, match="choose another name"):
        tag(settings, name, TABLES)


def test_an_empty_history_is_refused(settings: Settings) -> None:
    with pytest.raises(LakehouseError, match="expected rows in table `user_profiles`"):
        tag(settings, "spring", TABLES)
