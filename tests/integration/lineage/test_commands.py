"""The commands about what happened, told with the very snapshots that they read and made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.config import Settings
from jobs.backtest.command import Order
from jobs.backtest.command import main as backtest
from jobs.lineage.emit import lineage_file
from jobs.rebuild_features import rebuild
from jobs.replay import command as replay
from lakehouse.read import snapshot
from tests.histories import Made
from tests.integration.replay.conftest import a_lake, with_profiles
from tests.integration.replay.conftest import made as made
from tests.integration.why.conftest import nobody_listens


@pytest.fixture
def lake(made: tuple[Settings, Made], tmp_path: Path) -> Settings:
    return nobody_listens(with_profiles(a_lake(tmp_path, made[1])))


def told(settings: Settings) -> list[dict[str, Any]]:
    """What was told since this was asked last."""
    file = lineage_file(settings)
    events = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    file.unlink()
    return events


def versions(data: list[dict[str, Any]]) -> dict[str, str | None]:
    return {one["name"].rpartition("/")[2]: one["facets"].get("version", {}).get("datasetVersion") for one in data}


def test_a_rebuild_reads_the_archive_and_makes_a_snapshot_of_the_feature_log(lake: Settings) -> None:
    rebuild(lake)
    began, ended = told(lake)
    assert [began["eventType"], ended["eventType"]] == ["START", "COMPLETE"]
    assert began["run"]["runId"] == ended["run"]["runId"]
    assert versions(ended["inputs"]) == {"user_actions": str(snapshot(lake, "user_actions"))}
    assert versions(began["outputs"]) == {"feature_log": None}
    assert versions(ended["outputs"]) == {"feature_log": str(snapshot(lake, "feature_log"))}


def run_replay(settings: Settings, **changed: Any) -> int:
    asked: dict[str, Any] = dict.fromkeys(("from_time", "to_time", "tag", "snapshot_id", "parallelism"))
    asked |= dict.fromkeys(("fold", "topics", "flink", "as_json"), False) | {"offsets": [], "batch": 1000, "own_name": "lineage-test"}
    return replay.main(settings, **{**asked, **changed})


def test_a_replay_reads_the_tables_that_it_pins_and_one_that_cannot_run_failed(lake: Settings) -> None:
    assert run_replay(lake) == replay.EQUAL
    _, ended = told(lake)
    assert (ended["job"]["name"], ended["eventType"]) == ("replay", "COMPLETE")
    there = versions(ended["inputs"])
    assert there == {name: str(snapshot(lake, name)) for name in ("user_actions", "predictions", "user_actions_dlq", "user_profiles")}
    assert run_replay(lake, offsets=["0:99999999-99999999"]) == replay.COULD_NOT
    _, failed = told(lake)
    assert failed["eventType"] == "FAIL"
    assert "99999999" in failed["run"]["facets"]["errorMessage"]["message"]


def test_a_backtest_reads_both_models_and_writes_its_report(lake: Settings, tmp_path: Path) -> None:
    backtest(lake, Order("purchase_30m@2", "purchase_30m@1", "june", False, None, None, None, 1, 10, tmp_path / "report"), as_json=True)
    _, ended = told(lake)
    assert (ended["job"]["name"], ended["eventType"]) == ("backtest", "COMPLETE")
    assert {one["name"] for one in ended["outputs"]} == {str(tmp_path / "report")}
    read = versions(ended["inputs"])
    assert read["predictions"] == str(snapshot(lake, "predictions"))
    models = [one["name"] for one in ended["inputs"] if "/published/" in one["name"]]
    assert sorted(name.rpartition("/published/")[2] for name in models) == ["purchase_30m/1", "purchase_30m/2"]
