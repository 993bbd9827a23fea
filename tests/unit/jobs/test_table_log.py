from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from infra.config import Settings, load_settings
from infra.contracts.contract import Contracts
from jobs.table_log import END, TableLog
from lakehouse import migrate
from lakehouse.archives import of_actions
from lakehouse.read import plan_log, snapshot
from lakehouse.tables import TABLES
from tests.evolved import action, own, with_field, with_version
from tests.unit.lakehouse.test_from_value import COUNT, put

COLUMNS = ["topic_offset", "basket"]
WIDER = COUNT | {"maximum": 2**40}


@pytest.fixture
def lake(tmp_path: Path) -> Settings:
    """A table that newer files than this code's gave a column."""
    settings = load_settings({"STREAMHOUSE_STATE": str(tmp_path)})
    migrate.apply(settings, {"user_actions": of_actions(with_field(own(), "basket", COUNT))})
    return settings


def written(lake: Settings) -> None:
    with pytest.MonkeyPatch.context() as other_code:
        other_code.setitem(TABLES, "user_actions", of_actions(with_field(own(), "basket", COUNT)))
        put(lake, [action(basket=3), action(basket=4)], 0, basket=pa.array([3, 4], pa.int32()), platform=["desktop"] * 2)


@pytest.mark.parametrize("files", [own(), with_field(own(), "basket", WIDER)], ids=["older", "newer"])
def test_columns_are_those_of_the_table_whatever_this_code_declares(
    lake: Settings, monkeypatch: pytest.MonkeyPatch, files: Contracts
) -> None:
    monkeypatch.setitem(TABLES, "user_actions", of_actions(files))
    empty = TableLog(lake, "user_actions", 0, None, COLUMNS).below(END)
    written(lake)
    log = TableLog(lake, "user_actions", 0, snapshot(lake, "user_actions"), COLUMNS)
    assert log.below(0).schema == empty.schema
    assert log.below(1).to_pylist() == [{"topic_offset": 0, "basket": 3}]
    assert [rows.to_pylist() for rows in log.pieces_below(END)] == [[{"topic_offset": 1, "basket": 4}]]


def test_so_they_are_of_files_that_are_listed_already(lake: Settings) -> None:
    written(lake)
    pinned = snapshot(lake, "user_actions")
    assert pinned is not None
    plan = plan_log(lake, "user_actions", COLUMNS, pinned)
    log = TableLog(lake, "user_actions", 0, None, COLUMNS, plan=plan)
    assert log.below(END).to_pylist() == [{"topic_offset": 0, "basket": 3}, {"topic_offset": 1, "basket": 4}]


def test_a_log_of_a_snapshot_before_a_change_has_the_columns_and_types_of_today(lake: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    written(lake)
    past = snapshot(lake, "user_actions")
    after = of_actions(with_version(with_field(own(), "basket", WIDER), {"platform": "device"}, {}, {}))
    planned = [change.detail for change in migrate.apply(lake, {"user_actions": after})]
    assert {"widen basket from int to long", "rename column platform to device"} <= set(planned)
    monkeypatch.setitem(TABLES, "user_actions", after)
    put(lake, [action(basket=2**40)], 2, basket=pa.array([2**40], pa.int64()))
    now, columns = snapshot(lake, "user_actions"), [*COLUMNS, "device"]
    for as_stored in (False, True):
        logs = [TableLog(lake, "user_actions", 0, one, columns, as_stored=as_stored) for one in (past, now)]
        empty = [log.below(0) for log in logs]
        (pieces, latest) = (list(log.pieces_below(END)) for log in logs)
        assert [(row["basket"], row["device"]) for part in pieces for row in part.to_pylist()] == [(3, "desktop"), (4, "desktop")]
        assert [row["basket"] for part in latest for row in part.to_pylist()] == [3, 4, 2**40]
        assert {str(part.schema) for part in (*empty, *pieces, *latest)} == {str(empty[0].schema)}
