from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from infra.config import Settings, load_settings
from infra.contracts.change import Change
from lakehouse import migrate
from lakehouse.append import append
from lakehouse.catalog import load_table, open_catalog
from lakehouse.errors import LakehouseError
from lakehouse.iceberg import arrow_schema
from lakehouse.query import query
from lakehouse.read import read
from lakehouse.tables import TABLES, USER_PROFILES, Column, Table

COUNTER = Column("visits", "int", "Visits so far.", "count")
BEFORE = replace(USER_PROFILES, columns=(*USER_PROFILES.columns, COUNTER))


def after(settings: Settings, table: Table) -> tuple[Change, ...]:
    tables = {table.name: table}
    planned = migrate.plan(settings, tables)
    assert migrate.apply(settings, tables) == planned
    return tuple(planned)


def changed(**values: object) -> Table:
    return replace(BEFORE, columns=(*USER_PROFILES.columns, replace(COUNTER, **values)))  # type: ignore[arg-type]


@pytest.fixture
def grown(settings: Settings) -> Settings:
    """A table with one row, `visits` an int."""
    after(settings, BEFORE)
    rows = arrow_schema(USER_PROFILES).empty_table()
    append(settings, "user_profiles", rows.from_pylist([{"user_id": "u", "channel": "email"}]), "first")
    return settings


def test_an_empty_lake_gets_every_table_and_a_second_run_changes_nothing(settings: Settings) -> None:
    assert {change.action for change in migrate.plan(settings)} == {"create"}
    assert [change.name for change in migrate.apply(settings)] == list(TABLES)
    assert migrate.apply(settings) == [Change("table", name, "keep") for name in TABLES]


def test_the_catalog_is_one_that_flink_can_share(lake: Settings) -> None:
    with sqlite3.connect(lake.lake.database) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        rows = connection.execute("SELECT catalog_name, table_namespace, iceberg_type FROM iceberg_tables").fetchall()
    connection.close()
    assert set(rows) == {("lake", "streamhouse", "TABLE")}
    with open_catalog(lake) as catalog:
        table = load_table(catalog, lake, "user_actions")
    assert table.location().startswith("file:///")
    assert table.metadata.format_version == 2
    assert [str(field.transform) for field in table.spec().fields] == ["identity", "day"]
    assert (table.schema().find_field("topic_offset").doc or "").endswith("[offset]")


def test_a_new_column_is_added_and_old_rows_read_as_null(grown: Settings) -> None:
    more = replace(BEFORE, columns=(*BEFORE.columns, Column("region", "string", "Where from.", "name")))
    assert after(grown, more) == (Change("table", "user_profiles", "update", "add column region string"),)
    assert after(grown, more)[0].action == "keep"
    assert read(grown, "user_profiles", ["user_id", "region"]).to_pylist() == [{"user_id": "u", "region": None}]
    assert query(grown, "SELECT region FROM user_profiles").to_pylist() == [{"region": None}]


def test_a_type_is_widened_and_a_new_meaning_is_written_down(grown: Settings) -> None:
    wide = changed(type="long", doc="Visits in all.")
    assert [change.detail for change in after(grown, wide)] == ["widen visits from int to long"]
    assert after(grown, wide)[0].action == "keep"
    with open_catalog(grown) as catalog:
        field = load_table(catalog, grown, "user_profiles").schema().find_field("visits")
    assert (str(field.field_type), field.doc) == ("long", "Visits in all. [count]")
    assert query(grown, "SELECT visits FROM user_profiles").to_pylist() == [{"visits": None}]
    assert [c.detail for c in after(grown, changed(type="long", doc="Visits."))] == ["describe visits"]


def test_changed_properties_are_set(grown: Settings) -> None:
    change = after(grown, replace(BEFORE, owner="sales"))[0]
    assert (change.action, change.detail) == ("update", "properties streamhouse.owner")
    assert after(grown, replace(BEFORE, owner="sales"))[0].action == "keep"


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (changed(type="string"), "column visits is int and cannot become string without loss"),
        (USER_PROFILES, "column visits holds data and is no longer declared"),
        (replace(BEFORE, partition=(("user_id", "identity"),)), "without rewriting every file"),
    ],
)
def test_what_would_lose_data_is_refused_and_nothing_is_touched(grown: Settings, table: Table, says: str) -> None:
    table = replace(table, columns=(*table.columns, Column("region", "string", "Where from.", "name")))
    changes = after(grown, table)
    assert [says in change.detail for change in changes if change.action == "refuse"] == [True]
    with open_catalog(grown) as catalog:
        assert "region" not in load_table(catalog, grown, "user_profiles").schema().column_names


def test_a_table_that_was_not_created_says_what_to_run(settings: Settings) -> None:
    with pytest.raises(LakehouseError, match=r"table `predictions`: expected it in .*run `\./streamhouse up && \./streamhouse apply`"):
        read(settings, "predictions")


def test_a_catalog_that_was_lost_beside_its_data_is_said_and_no_table_made_anew(grown: Settings) -> None:
    for file in grown.lake.database.parent.glob("catalog.db*"):
        file.unlink()
    (change,) = after(grown, BEFORE)
    assert (change.action, "the catalog's file was lost or replaced; bring it back" in change.detail) == ("refuse", True)
    with pytest.raises(LakehouseError, match=r"table `user_profiles`: expected it in .*lost or replaced"):
        read(grown, "user_profiles")
    assert migrate.apply(grown, {"predictions": TABLES["predictions"]})[0].action == "create"


def test_a_rest_catalog_that_is_away_is_said() -> None:
    settings = load_settings({"STREAMHOUSE_LAKE_REST_URI": "http://127.0.0.1:9"})
    with pytest.raises(LakehouseError, match=r"Iceberg catalog http://127\.0\.0\.1:9: expected an answer"):
        open_catalog(settings)


def test_a_column_is_added_while_others_commit_to_the_table(grown: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = arrow_schema(USER_PROFILES).empty_table().from_pylist([{"user_id": "v", "channel": "web"}])
    write, rivals = SqlCatalog._write_metadata, [1, 2, 3]

    def overtaken(**arguments: Any) -> None:
        """Between what a commit has read and what it writes, a job commits."""
        if rivals:
            number = rivals.pop()
            with monkeypatch.context() as patched:
                patched.setattr(SqlCatalog, "_write_metadata", staticmethod(write))
                append(grown, "user_profiles", rows, f"rival {number}")
        write(**arguments)

    monkeypatch.setattr(SqlCatalog, "_write_metadata", staticmethod(overtaken))
    wider = replace(BEFORE, columns=(*BEFORE.columns, Column("clicks", "int", "Clicks so far.", "count")))
    assert "update" in {change.action for change in migrate.apply(grown, {"user_profiles": wider})}
    assert rivals == []
    assert {change.action for change in migrate.plan(grown, {"user_profiles": wider})} == {"keep"}
    assert sorted(read(grown, "user_profiles", ["user_id"])["user_id"].to_pylist()) == ["u", "v", "v", "v"]
