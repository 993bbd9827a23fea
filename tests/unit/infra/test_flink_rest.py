"""From where a job goes on: found by the job's name, whoever started it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from infra.config import Settings, load_settings
from infra.stack.flink_rest import checkpoint_folder, restorable


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"STREAMHOUSE_STATE": str(tmp_path)})


def written(folder: Path, age: int, *, complete: bool = True) -> Path:
    """A checkpoint or savepoint of so many seconds ago."""
    folder.mkdir(parents=True)
    if complete:
        (folder / "_metadata").touch()
        os.utime(folder / "_metadata", (1_700_000_000 - age,) * 2)
    return folder


def test_nothing_is_found_where_no_job_of_the_name_ran(settings: Settings) -> None:
    assert restorable(settings, "score_events") is None
    written(checkpoint_folder(settings, "archive_topics") / ("a" * 32) / "chk-7", 0)
    written(settings.state / "flink" / "savepoints" / "savepoint-aaaaaa-1", 0)
    assert restorable(settings, "score_events") is None


def test_the_newest_of_all_runs_is_found_and_an_incomplete_one_never(settings: Settings) -> None:
    first, second = (checkpoint_folder(settings, "score_events") / (letter * 32) for letter in "ab")
    written(first / "chk-9", 30)
    newest = written(second / "chk-3", 10)
    written(second / "chk-2", 20)
    written(second / "chk-4", 0, complete=False)
    (second / "shared").mkdir()
    assert restorable(settings, "score_events") == newest


def test_a_savepoint_belongs_to_the_job_whose_id_it_bears(settings: Settings) -> None:
    # of a stopped job Flink leaves the folder, with no checkpoint in it
    (checkpoint_folder(settings, "score_events") / ("a" * 32) / "shared").mkdir(parents=True)
    mine = written(settings.state / "flink" / "savepoints" / "savepoint-aaaaaa-0123456789ab", 10)
    written(settings.state / "flink" / "savepoints" / "savepoint-bbbbbb-0123456789ab", 0)
    assert restorable(settings, "score_events") == mine


def test_the_folders_are_those_of_flinks_own_configuration(settings: Settings, tmp_path: Path) -> None:
    shared = tmp_path / "volume of all containers"
    named = {"execution.checkpointing.dir": f"file://{shared}/chk", "execution.checkpointing.savepoint-dir": f"file://{shared}/sav"}
    file = settings.state / "flink" / "conf" / "config.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(yaml.safe_dump(named), "utf-8")
    assert checkpoint_folder(settings, "score_events") == shared / "chk" / "score_events"
    written(shared / "chk" / "score_events" / ("c" * 32) / "chk-1", 10)
    savepoint = written(shared / "sav" / "savepoint-cccccc-1", 0)
    assert restorable(settings, "score_events") == savepoint
