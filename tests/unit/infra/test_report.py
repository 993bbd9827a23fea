"""What `status` calls well, and how it says what is not."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest

from infra.config import Settings, load_settings
from infra.errors import StreamhouseError
from infra.stack import brakes, flink_rest, groups, measured
from infra.stack.flink_rest import Job
from infra.stack.groups import GroupLag
from infra.stack.report import Report, ServiceLine, status
from tests.ports import free_ports

NAMES = ("broker", "jobmanager", "taskmanager", "redis", "registry")
UP = [ServiceLine(name, "up", "http://127.0.0.1:18081", 1_234_567, 1_024) for name in NAMES]
HEALTHY = Job("a" * 32, "archive_topics", "RUNNING", 86_400.0, restarts=2, checkpoints=17_280, checkpoint_age=4.0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "flink").mkdir()
    return load_settings({"STREAMHOUSE_STATE": str(tmp_path)})


def test_all_is_well_when_services_answer_and_jobs_complete_checkpoints() -> None:
    assert Report(UP, [HEALTHY]).is_well
    assert Report(UP, []).is_well


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"failed_checkpoints": 3}, "job archive_topics fails its checkpoints, 3 since the last complete one"),
        ({"state": "RESTARTING"}, "job archive_topics is RESTARTING (restart 2)"),
        ({"checkpoint_age": 61.0}, "job archive_topics completed no checkpoint for 61 s"),
        ({"checkpoint_age": None, "running_for": 75.0}, "job archive_topics completed no checkpoint for 75 s"),
    ],
)
def test_a_job_in_trouble_is_not_well(changes: dict[str, object], words: str) -> None:
    report = Report(UP, [dataclasses.replace(HEALTHY, **changes)])  # type: ignore[arg-type]
    assert not report.is_well
    assert report.troubles == [f"{words}; see `./streamhouse logs taskmanager`"]


def test_a_job_that_has_only_started_or_seldom_makes_checkpoints_is_well() -> None:
    assert Report(UP, [dataclasses.replace(HEALTHY, checkpoint_age=None, running_for=20.0)]).is_well
    assert Report(UP, [dataclasses.replace(HEALTHY, checkpoint_age=200.0, checkpoint_patience=900.0)]).is_well


def test_a_job_that_reads_to_an_end_is_not_asked_for_checkpoints() -> None:
    replays = dataclasses.replace(HEALTHY, name="replay-1", checkpoint_age=None, running_for=3600.0, takes_checkpoints=False)
    assert Report(UP, [HEALTHY, replays]).is_well
    assert Report(UP, [HEALTHY, dataclasses.replace(replays, state="FAILING")]).troubles == [
        "job replay-1 is FAILING (restart 2); see `./streamhouse logs taskmanager`"
    ]


def test_a_full_disk_is_said_before_what_comes_of_it() -> None:
    report = Report([*UP[1:], dataclasses.replace(UP[0], state="silent")], [HEALTHY], free_bytes=3 << 20)
    first, second = report.troubles
    assert first == "the state folder's disk has 3 MiB left, and nothing works on a full one; free some"
    assert second.startswith("service broker is silent")


def test_a_silent_service_is_not_well() -> None:
    report = Report([*UP[1:], dataclasses.replace(UP[0], state="silent")], [HEALTHY])
    assert report.troubles == ["service broker is silent; see `./streamhouse logs broker`"]


def test_nothing_running_is_one_sentence(settings: Settings) -> None:
    assert status(settings).troubles == ["the stack is down; run `./streamhouse up`"]


def test_a_submitted_job_that_nobody_stopped_is_missed(settings: Settings) -> None:
    flink_rest.note_started(settings, "score_events", "b" * 32)
    flink_rest.note_started(settings, "archive_topics", HEALTHY.id)
    assert flink_rest.missing(settings, [HEALTHY]) == ["score_events"]
    failed, cancelled = (Job("b" * 32, "score_events", state, 1.0) for state in ("FAILED", "CANCELED"))
    assert flink_rest.missing(settings, [HEALTHY, failed]) == ["score_events"]
    assert flink_rest.missing(settings, [HEALTHY, cancelled]) == []
    words = "job score_events does not run; the keeper starts it again, see `./streamhouse logs keeper`"
    assert Report(UP, [HEALTHY], ["score_events"]).troubles == [words]
    flink_rest.forget(settings, "score_events")
    assert flink_rest.missing(settings, [HEALTHY]) == []
    flink_rest.forget(settings)
    assert flink_rest.missing(settings, []) == []


def test_a_job_that_a_person_ended_by_its_id_is_not_started_again_when_the_jobmanager_has_forgotten_it(settings: Settings) -> None:
    flink_rest.note_started(settings, "score_events", "b" * 32)
    flink_rest.note_started(settings, "archive_topics", HEALTHY.id)
    flink_rest.forget_ended(settings, [HEALTHY, Job("b" * 32, "score_events", "FINISHED", 1.0)])
    assert flink_rest.missing(settings, []) == ["archive_topics"]
    flink_rest.note_started(settings, "score_events", "")  # to be started again, under whichever id
    flink_rest.forget_ended(settings, [Job("b" * 32, "score_events", "CANCELED", 1.0)])
    assert flink_rest.missing(settings, [HEALTHY]) == ["score_events"]


def test_a_job_that_the_brake_holds_is_not_well_until_it_is_released(settings: Settings) -> None:
    brakes.pull(settings, "score_events", "9 of the last 10 records were rejected", 1)
    assert brakes.pulled(settings) == {"score_events": "9 of the last 10 records were rejected"}
    held = Report(UP, [HEALTHY], brakes=brakes.pulled(settings))
    assert held.troubles == ["the brake holds score_events: 9 of the last 10 records were rejected"]
    with pytest.raises(StreamhouseError, match="the brake holds score_events: 9 of the last 10"):
        brakes.refuse_while_pulled(settings, "score_events")
    brakes.refuse_while_pulled(settings, "archive_topics")
    brakes.release(settings, "score_events", 17)
    brakes.refuse_while_pulled(settings, "score_events")
    assert (brakes.pulled(settings), brakes.released_ms(settings, "score_events")) == ({}, 17)


KEPT = measured.Kept(measured.Measured(measured=1234, equal=1234), measured.Doing(0))
WRONG = measured.Differs("user_activity:actions_1h", "u", 1, 77, "3", "4", "the online store served another")


def test_a_prediction_that_is_not_as_the_log_gives_it_is_not_well_and_the_feature_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    differing = measured.Kept(measured.Measured(measured=1234, equal=1232, first=[WRONG]), measured.Doing(0))
    report = Report(UP, [HEALTHY], features=differing, features_line="all is well")
    words = "2 of 1,234 measured predictions differ: user_activity:actions_1h (user u, action 1:77, served 3, the log gives 4)"
    assert report.troubles == [f"features: {words}; see `./streamhouse meter`"]
    assert report.as_dict()["features"] == differing.as_dict()
    report.show()
    shown = capsys.readouterr().out
    assert words in shown
    assert "all is well" not in shown


def test_a_meter_that_finds_nothing_or_is_late_is_well(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(UP, [HEALTHY], features=KEPT, features_line=KEPT.line(20, 600_000))
    assert report.is_well
    report.show()
    assert "the meter is 10 minutes behind" in " ".join(capsys.readouterr().out.split())
    assert Report(UP, [HEALTHY]).as_dict()["features"] is None


def test_what_was_measured_is_said_of_a_stack_that_is_down_too(settings: Settings) -> None:
    measured.add(settings, measured.Measured(measured=5, equal=4, first=[WRONG]), measured.Doing(0))
    report = status(settings)
    assert report.troubles == ["the stack is down; run `./streamhouse up`"]
    assert report.features is not None
    assert report.features_line == ""


def test_the_tables_fit_into_80_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    jobs = [HEALTHY, dataclasses.replace(HEALTHY, name="score_events", state="INITIALIZING", running_for=0.0)]
    lags = [GroupLag("notification", "orders", 1_234_567, 1), GroupLag("order", "order-commands", 0, 0)]
    Report(UP, jobs, features=KEPT, features_line=KEPT.line(20, 600_000), groups=lags).show()
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert all(
        word in shown for word in ("archive_topics", "score_events", "INITIALIZING", "checkpoints", "17280", "taskmanager", "1234567")
    )
    assert max(map(len, shown.splitlines())) <= 80
    assert all(word in shown for word in ("notification", "1,234,567", "orders 1,234,567", "order"))
    assert "order-commands" not in shown  # where it lags nowhere, its topics are not told


def test_how_far_groups_are_behind_is_told_to_programs_and_is_no_trouble() -> None:
    report = Report(UP, [HEALTHY], groups=[GroupLag("notification", "orders", 12, 1)])
    assert report.is_well
    assert report.as_dict()["groups"] == [{"group": "notification", "topic": "orders", "lag": 12, "members": 1}]
    assert Report(UP, [HEALTHY]).as_dict()["groups"] == []


def test_without_a_broker_nothing_is_said_of_groups_after_some_seconds() -> None:
    (port,) = free_ports(1)
    began = time.monotonic()
    assert groups.lags(load_settings({"STREAMHOUSE_KAFKA_PORT": port})) == []
    assert time.monotonic() - began < 20
