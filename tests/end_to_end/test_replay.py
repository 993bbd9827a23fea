"""A replay as a bounded Flink job, on the cluster that scores and archives: it says what the replay in one process says."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from infra.config import Settings, load_settings
from infra.stack import flink_rest
from infra.stack.report import status
from infra.stack.services import flink_environment, flink_home, write_files
from jobs.replay.chosen import Chosen
from jobs.replay.command import DIFFERS, EQUAL, main
from jobs.replay.history import TABLES
from jobs.replay.request import Request, as_argument
from lakehouse import migrate
from lakehouse.read import log_ends, read
from lakehouse.tags import tag, untag
from tests.histories import Kept, answered, log_of, put
from tests.integration.replay.conftest import some_rows
from tests.planted import CASES, plant_each


def replayed(settings: Settings, capsys: pytest.CaptureFixture[str], *, flink: bool, **given: Any) -> dict[str, Any]:
    """The report that the command prints, without what may differ."""
    options: dict[str, Any] = {
        "from_time": None,
        "to_time": None,
        "offsets": [],
        "tag": None,
        "snapshot_id": None,
        "fold": False,
        "topics": False,
    }
    options |= {"batch": 20_000, "parallelism": None, "as_json": True, "own_name": f"replay-{uuid.uuid4()}", "flink": flink}
    outcome, said = main(settings, **(options | given)), capsys.readouterr()
    assert outcome in (EQUAL, DIFFERS), said.err
    report: dict[str, Any] = json.loads(said.out)
    assert report["equal"] == (outcome == EQUAL)
    assert report.pop("source") == ("flink" if flink else "tables")
    assert report.pop("seconds") > 0
    return report


def test_the_archived_stream_comes_out_the_same_both_ways(archived: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    tag(archived, "both-ways", TABLES)
    try:
        here = replayed(archived, capsys, flink=False, tag="both-ways")
        assert here["equal"]
        assert here["predictions"]["equal"] >= 31_106
        assert replayed(archived, capsys, flink=True, tag="both-ways") == here
    finally:
        untag(archived, "both-ways", TABLES)
    assert {job.name for job in flink_rest.jobs(archived) if job.is_alive} == {"score_events", "archive_topics"}
    assert status(archived).missing_jobs == []


def test_planted_differences_are_named_the_same_both_ways(archived: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A lake of its own on the same cluster, with every kind of difference, the largest values, actions without an answer."""
    settings = load_settings({"STREAMHOUSE_STATE": str(tmp_path / "state"), "STREAMHOUSE_FLINK_REST_PORT": str(archived.flink.rest_port)})
    write_files(settings)  # what Flink's client reads
    migrate.apply(settings)
    log = log_of(some_rows(), seed=8)
    large = [Kept(0, log[0][-1].offset() + 1 + i, None, b"{" + b"x" * 1_000_000, log[0][0].timestamp()[1]) for i in range(4)]
    made = answered(settings, {**log, 0: [*log[0], *large]}, 9, {})
    mine = copy.deepcopy(made)
    del mine.topics["predictions"][500:530], mine.topics["predictions"][-5:]
    plant_each(mine, 300)
    put(settings, mine)

    here = replayed(settings, capsys, flink=False)
    assert {one["field"] for one in here["difference_counts"]} == set(CASES)
    assert here["not_answered_yet"] > 0
    assert here["refused"] > len(large)
    assert replayed(settings, capsys, flink=True, batch=7) == here

    times = sorted(read(settings, "user_actions", ["event_time"])["event_time"].to_pylist())
    some = {
        "from_time": times[len(times) // 4].isoformat(),
        "to_time": times[-len(times) // 4].isoformat(),
        "offsets": ["0:10-399", "1:0-350"],
    }
    part = replayed(settings, capsys, flink=False, **some)
    assert 0 < part["actions"] < here["actions"]
    assert replayed(settings, capsys, flink=True, **some) == part


def test_the_plan_calls_python_once(archived: Settings) -> None:
    what = Chosen(offsets=log_ends(archived, "user_actions"))
    command = [str(flink_home() / "bin" / "flink"), "run", "-m", f"127.0.0.1:{archived.flink.rest_port}", "-py"]
    command += [str(archived.root / "jobs" / "replay_events.py"), as_argument(Request("replay", None, None, what, 1, 1)), "--explain"]
    environment = {**os.environ, **archived.environment, **flink_environment(archived)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
    plan = done.stdout[done.stdout.index("== Optimized Execution Plan ==") :]
    assert plan.count("PythonCalc(") == 1, plan
    assert plan.count("Reused(") == 1, plan
