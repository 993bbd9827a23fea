from __future__ import annotations

import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from infra.config import Settings, load_settings
from lakehouse import catalog
from lakehouse.catalog import load_table, open_catalog
from lakehouse.errors import LakehouseError
from lakehouse.read import snapshot
from lakehouse.tags import tag
from tests.lake import put_records
from tests.unit.lakehouse.conftest import Rows


def _catalog_says(settings: Settings) -> str:
    with pytest.raises(LakehouseError) as said:
        snapshot(settings, "user_actions")
    return str(said.value)


def test_a_damaged_catalog_is_named(lake: Settings) -> None:
    database = lake.lake.database
    whole = database.read_bytes()
    for spoilt in (whole[:100] + b"\xa5" * (len(whole) - 100), b"no database" * 100):
        for file in database.parent.glob("catalog.db*"):
            file.unlink()
        database.write_bytes(spoilt)
        said = _catalog_says(lake)
        assert said.startswith(f"catalog {database}: expected a sqlite file to read and write, got: ")
        assert "bring it back as it was, catalog.db-wal too, or begin anew" in said


def test_a_catalog_that_is_spoilt_while_it_is_open_is_named(lake: Settings) -> None:
    with open_catalog(lake) as opened, closing(sqlite3.connect(lake.lake.database)) as other:
        other.execute("DROP TABLE iceberg_tables")
        other.commit()
        with pytest.raises(LakehouseError, match=f"catalog {lake.lake.database}: .* got: no such table: iceberg_tables; see that"):
            load_table(opened, lake, "user_actions")


def test_a_catalog_that_another_holds_is_said_so(lake: Settings, actions: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    put_records(lake, "user_actions", actions(0, [0]))
    monkeypatch.setattr(catalog, "BUSY_SECONDS", 0)
    with closing(sqlite3.connect(lake.lake.database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LakehouseError, match="got: database is locked; let go who holds it, and run this again"):
            tag(lake, "mine", ["user_actions"])


def test_a_state_folder_where_nothing_can_be_written_is_named(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file in its place")
    said = _catalog_says(settings)
    assert said.startswith(f"catalog {settings.lake.database}: expected a sqlite file to read and write, got: ")
    assert said.endswith("; see that its disk has room and can be written to")


def test_a_catalog_that_cannot_be_opened_is_named(settings: Settings) -> None:
    settings.lake.database.mkdir(parents=True)  # in its place
    assert "got: unable to open database file; see that its disk has room and can be written to" in _catalog_says(settings)


@pytest.mark.parametrize("length", [0, 200])
def test_metadata_that_was_cut_is_named_by_its_table(lake: Settings, length: int) -> None:
    with open_catalog(lake) as opened:
        place = load_table(opened, lake, "user_actions").metadata_location.removeprefix("file://")
    os.truncate(place, length)
    said = _catalog_says(lake)
    assert said.startswith("table `user_actions`: expected metadata as Iceberg writes it in ")
    assert place in said
    assert said.endswith("; bring that file back as it was")


def test_several_at_a_time_make_one_catalog(tmp_path: Path) -> None:
    """As the parts of `apply` do, which plan beside each other."""
    for attempt in range(10):
        settings = load_settings({"STREAMHOUSE_STATE": str(tmp_path / str(attempt))})
        with ThreadPoolExecutor(8) as pool:
            made = [pool.submit(open_catalog, settings) for _ in range(8)]
            for future in made:
                assert future.result(30).list_namespaces() == []
