"""The keeper stops what the brake holds, with a savepoint or, where the job makes none, without."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.config import Settings, load_settings
from infra.stack import brakes, flink_rest
from jobs import keeper
from jobs.submit import SCORER


@pytest.mark.parametrize("hangs", [False, True])
def test_a_job_that_the_brake_holds_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangs: bool) -> None:
    settings, done = load_settings({"STREAMHOUSE_STATE": str(tmp_path)}), list[str]()
    brakes.pull(settings, SCORER, "too much is rejected", 0)
    flink_rest.note_started(settings, SCORER, "a")

    def stop(_: Settings, job: flink_rest.Job) -> Path:
        if hangs:
            raise flink_rest.NoSavepointError("job score_events made no savepoint within 60 s")
        done.append(f"stopped {job.id}")
        return tmp_path

    monkeypatch.setattr(keeper, "answered", lambda *_: {})
    monkeypatch.setattr(flink_rest, "alive", lambda *_: flink_rest.Job("a", SCORER, "RUNNING", 1.0))
    monkeypatch.setattr(flink_rest, "stop_with_savepoint", stop)
    monkeypatch.setattr(flink_rest, "cancel", lambda _, job: done.append(f"cancelled {job.id}"))
    keeper.watch_answers(settings, keeper.Keeper(patience=1.0))
    assert done == [f"{'cancelled' if hangs else 'stopped'} a"]
    if hangs:
        assert flink_rest.expected(settings) == {}  # or it would be missed, and started again when the brake is released
