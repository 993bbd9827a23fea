from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from infra.config import Settings, load_settings
from lakehouse.append import append
from lakehouse.catalog import load_table, open_catalog
from lakehouse.errors import LakehouseError
from lakehouse.query import _lazily, main, query, show
from lakehouse.tables import TABLES
from tests.lake import put_records
from tests.unit.lakehouse.conftest import Rows


@pytest.fixture(scope="module")
def shop(shared_lake: Settings, actions: Rows) -> Settings:
    put_records(shared_lake, "user_actions", actions(0, range(30)))
    append(shared_lake, "user_profiles", pa.table({"user_id": ["user_0", "user_1"], "channel": ["email", "ads"]}), "1")
    return shared_lake


def test_tables_are_joined_filtered_and_grouped(shop: Settings) -> None:
    sql = """WITH bought AS (SELECT * FROM user_actions WHERE action = 'purchase')
        SELECT channel, count(*) AS n, min(event_time) AS first FROM bought JOIN USER_PROFILES USING (user_id)
        GROUP BY channel ORDER BY channel"""
    rows = query(shop, sql).to_pylist()
    assert [(row["channel"], row["n"], row["first"].isoformat()) for row in rows] == [
        ("ads", 3, "2024-01-01T00:00:00+00:00"),
        ("email", 3, "2024-01-01T00:00:00+00:00"),
    ]


def test_maps_times_and_bytes_are_plain_sql(shop: Settings) -> None:
    sql = "SELECT date_trunc('day', event_time) AS day, headers['trace'] AS trace, value FROM user_actions LIMIT 1"
    (row,) = query(shop, sql).to_pylist()
    assert (row["day"].tzname(), row["trace"], row["value"]) == ("UTC", b"1", b"v")


def test_an_empty_table_answers(shop: Settings) -> None:
    assert query(shop, "SELECT count(*) AS n FROM predictions").to_pylist() == [{"n": 0}]


def test_tables_that_are_not_named_are_not_opened(lake: Settings) -> None:
    with open_catalog(lake) as catalog:
        catalog.drop_table((lake.lake.namespace, "predictions"))
    assert query(lake, "SELECT 'predictions', user_id FROM user_profiles -- predictions").to_pylist() == []
    with pytest.raises(LakehouseError, match="table `predictions`"):
        query(lake, "SELECT 1 FROM user_profiles WHERE EXISTS (SELECT 1 FROM predictions)")


def test_a_table_is_not_read_into_memory_first(shop: Settings) -> None:
    with open_catalog(shop) as catalog:
        assert isinstance(_lazily(load_table(catalog, shop, "user_actions")), ds.Dataset)


def test_a_name_from_a_with_clause_may_be_that_of_a_table(shop: Settings) -> None:
    sql = """WITH user_actions AS (SELECT * FROM user_actions WHERE topic_offset < 3), one AS (SELECT 1)
        SELECT count(*) AS n FROM user_actions, One"""
    assert query(shop, sql).to_pylist() == [{"n": 3}]


def test_tables_and_columns_can_be_listed(shop: Settings) -> None:
    assert query(shop, "SHOW TABLES")["name"].to_pylist() == sorted(TABLES)
    assert query(shop, "DESCRIBE user_profiles")["column_name"].to_pylist()[:2] == ["user_id", "channel"]


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELECT 1 FROM clicks", "table `clicks`: expected one of account_commands_dlq, accounts, contract_changes, feature_log"),
        ("SELEC 1", "expected SQL as DuckDB speaks it, got syntax error at or near"),
        ("SELECT nope FROM user_actions", 'got Binder Error: Referenced column "nope" not found'),
        ("SELECT 1; SELECT 2", "expected one statement"),
        ("", "expected one statement"),
        ("SELECT * FROM read_csv('/etc/hosts')", "Permission Error"),
        ("SELECT * FROM '/etc/hosts'", "table `/etc/hosts`: expected one of"),
        ("COPY (SELECT 1) TO 'x.csv'", "expected a SELECT"),
        ("SET enable_external_access = true", "expected a SELECT"),
        (
            "DROP TABLE user_actions",
            "or DESCRIBE, got 'DROP TABLE user_actions'; only reading is allowed",
        ),
    ],
)
def test_what_cannot_be_asked_is_said_in_a_sentence(shop: Settings, sql: str, says: str) -> None:
    with pytest.raises(LakehouseError) as refused:
        query(shop, sql)
    assert says in str(refused.value)


def test_the_command_prints_a_table_csv_or_json(shop: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    sql = "SELECT user_id, channel, cohort FROM user_profiles ORDER BY user_id"
    assert main([sql], shop) == 0
    assert "user_0" in (shown := capsys.readouterr().out)
    assert "2 rows" in shown
    assert main([sql, "--csv"], shop) == 0
    assert capsys.readouterr().out.splitlines() == ["user_id,channel,cohort", "user_0,email,", "user_1,ads,"]
    assert main([sql, "--json"], shop) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert first == {"user_id": "user_0", "channel": "email", "cohort": None}


def test_the_command_fails_with_one_sentence(shop: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["SELECT 1 FROM clicks"], shop) == 1
    assert capsys.readouterr().err.startswith("error: table `clicks`")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_table_that_the_terminal_cannot_hold_is_printed_a_column_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    wide, narrow, file = Terminal(), Terminal(), io.StringIO()
    rows = pa.table({f"column_{n}": ["a value of some length", "[red]x"] for n in range(6)})
    show(rows, "table", wide)
    assert wide.getvalue().splitlines()[:2] == ["-- row 1", "column_0: a value of some length"]
    assert wide.getvalue().splitlines()[7:14] == ["-- row 2", *(f"column_{n}: [red]x" for n in range(6))]
    show(rows.select([0, 1]), "table", narrow)
    assert "row 1" not in narrow.getvalue()
    show(rows, "table", file)
    (line,) = (line for line in file.getvalue().splitlines() if "[red]x" in line)
    assert line.count("[red]x") == 6


def test_a_state_folder_that_was_moved_is_named_with_the_old_place(lake: Settings, tmp_path: Path) -> None:
    lake.state.rename(tmp_path / "new place")
    moved = load_settings({"STREAMHOUSE_STATE": str(tmp_path / "new place")})
    with pytest.raises(LakehouseError) as refused:
        query(moved, "SELECT 1 FROM user_profiles")
    assert f"was moved from {lake.state} to {moved.state}" in str(refused.value)


def test_a_file_that_is_gone_is_named(lake: Settings) -> None:
    for file in lake.lake.folder.rglob("*.metadata.json"):
        file.unlink()
    with pytest.raises(LakehouseError, match=r"table `user_profiles`: a file that the catalog names is gone \(.*metadata.json"):
        query(lake, "SELECT 1 FROM user_profiles")


def test_a_long_answer_is_cut_for_people_and_whole_for_machines() -> None:
    rows = pa.table({"n": range(500), "markup": ["[red]x"] * 500, "list": [[1.5]] * 500})
    people, machines = io.StringIO(), io.StringIO()
    show(rows, "table", people)
    show(rows, "json", machines)
    assert "500 rows, the first 200 shown" in people.getvalue()
    assert "[red]x" in people.getvalue()
    assert len(machines.getvalue().splitlines()) == 500


def test_a_data_file_that_is_gone_is_one_sentence(lake: Settings, actions: Rows) -> None:
    put_records(lake, "user_actions", actions(0, range(30)))
    gone = next(lake.lake.own_warehouse.rglob("*.parquet"))
    gone.unlink()
    with pytest.raises(LakehouseError, match=r"a file of user_actions cannot be read: .*; `./streamhouse audit` names what is lost"):
        query(lake, "SELECT count(*) AS n, max(user_id) FROM user_actions")
