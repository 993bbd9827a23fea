"""What Flink's client said about several jobs is told apart, and the programs of jobs are found by their names."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from infra.config import ROOT, Settings, load_settings
from infra.errors import StreamhouseError
from infra.stack import brakes, flink_rest
from jobs import submit as submitting
from jobs import tried_model
from jobs.submit import ALL_JOBS, outcome, submit_all
from tests.unit.models.builders import a_folder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "logs").mkdir()
    return load_settings({"STREAMHOUSE_STATE": str(tmp_path)})


def ended(said: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess([], status, said, "")


def test_each_job_has_its_own_sentence(settings: Settings) -> None:
    first, second = "0" * 32, "1" * 32
    done = ended(
        "starting score_events\naborted transaction a-0-1, which an earlier run left open\n"
        "goes on behind its outputs: 12 of 20 (read in 0.1 s)\n"
        f"Job has been submitted with JobID {first}\nsubmitted score_events as job {first}\n"
        f"starting archive_topics\nsubmitted archive_topics as job {second}\n"
    )
    assert outcome(settings, "score_events", done) == f"score_events started as job {first}: 12 of 20"
    assert outcome(settings, "archive_topics", done) == f"archive_topics started as job {second}"


def test_a_refused_job_leaves_the_other_its_start(settings: Settings) -> None:
    done = ended(
        f"starting score_events\nerror: it runs already\nstarting archive_topics\nsubmitted archive_topics as job {'1' * 32}\n", 31
    )
    refused = outcome(settings, "score_events", done)
    assert isinstance(refused, StreamhouseError)
    assert str(refused) == "it runs already"
    assert outcome(settings, "archive_topics", done) == f"archive_topics started as job {'1' * 32}"


def test_a_job_that_another_start_was_first_with_is_left_alone(settings: Settings) -> None:
    running = f"score_events runs already as job {'2' * 32}"
    said = f"starting score_events\nerror: {running}; one copy of a job runs at a time: stop that one first\n"
    assert outcome(settings, "score_events", ended(said, 31)) == running


def test_a_client_that_ended_before_a_job_refuses_it_with_its_cause_and_its_log(settings: Settings) -> None:
    done = ended(f"starting score_events\nsubmitted score_events as job {'0' * 32}\nCaused by: java.io.IOException: no space\n", 1)
    refused = outcome(settings, "archive_topics", done)
    assert isinstance(refused, StreamhouseError)
    log = settings.state / "logs" / "submit-archive_topics.log"
    assert str(refused) == f"Flink refused archive_topics: java.io.IOException: no space; everything it said is in {log}"
    assert "submitted score_events" in log.read_text("utf-8")


def test_a_release_waits_for_a_job_that_the_brake_is_stopping(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would say that the job runs, which would then end, and nobody would start it."""
    brakes.pull(settings, "score_events", "too much is rejected", 0)
    alive = iter(["job", "job", "job", None])
    monkeypatch.setattr(flink_rest, "running", lambda *_: next(alive))
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr(tried_model, "check", lambda _: None)
    started = f"starting score_events\nsubmitted score_events as job {'0' * 32}\n"
    monkeypatch.setattr(submitting, "flink_run", lambda *_: ended(started))
    assert submit_all(settings, ["score_events"], ["--release-brake"]) == {"score_events": f"score_events started as job {'0' * 32}"}
    assert next(alive, "all asked") == "all asked"


def test_a_release_says_so_where_the_brake_cannot_stop_the_job(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    brakes.pull(settings, "score_events", "too much is rejected", 0)
    monkeypatch.setattr(flink_rest, "running", lambda *_: "job")
    monkeypatch.setattr(submitting, "_STOPPING_SECONDS", 0.0)
    monkeypatch.setattr(tried_model, "check", lambda _: None)
    refused = submit_all(settings, ["score_events"], ["--release-brake"])["score_events"]
    assert str(refused) == "the brake holds score_events, and job job still runs; see `./streamhouse logs keeper`"
    assert submit_all(settings, ["score_events"])["score_events"] == "score_events runs already as job job"


def test_an_unknown_job_is_refused_before_anything_is_started(settings: Settings) -> None:
    with pytest.raises(StreamhouseError, match="no job 'score'; expected one of score_events, archive_topics, archive_shop"):
        submit_all(settings, ["score_events", "score"])


def test_the_program_for_several_jobs_knows_each_of_them() -> None:
    said = subprocess.run(
        [sys.executable, str(ROOT / "jobs" / "together.py"), "score_event"], capture_output=True, text=True, check=False, timeout=120
    )
    assert said.returncode == 1
    assert said.stderr.strip() == f"error: expected names among {', '.join(ALL_JOBS)}, got score_event"


def test_a_model_that_must_not_be_used_is_refused_before_flink_is_asked(settings: Settings, tmp_path: Path) -> None:
    """No Flink runs here: whoever asked one would say so."""
    own = replace(settings, root=tmp_path, score_events=replace(settings.score_events, model="buys@1"))
    file = a_folder(tmp_path / "models" / "published" / "buys" / "1") / "model.onnx"
    file.write_bytes(file.read_bytes()[:-1])
    refused = submit_all(own, ["score_events"])["score_events"]
    assert isinstance(refused, StreamhouseError)
    assert str(refused).startswith("model `buys@1`: model.onnx must have sha256 ")


def test_bare_flink_run_refuses_it_too_before_anything_of_the_job_starts(tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "STREAMHOUSE_STATE": str(tmp_path)}
    said = subprocess.run(
        [sys.executable, str(ROOT / "jobs" / "score_events.py")],
        env={**environment, "STREAMHOUSE_SCORE_EVENTS_MODEL": "buys@1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert said.returncode == 1
    assert said.stdout.strip() == "starting score_events"
    assert said.stderr.startswith("error: model `buys@1`: there is none of that name and version in")
