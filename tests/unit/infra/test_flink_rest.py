"""Where the checkpoints of a job lie, and when they go."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from infra.config import Settings, load_settings
from infra.errors import StreamhouseError
from infra.stack import flink_rest
from infra.stack.apart import free_ports
from infra.stack.flink_rest import Job, cancel, checkpoint_address, checkpoint_folder, clear_checkpoints
from infra.stack.services import flink_configuration


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"STREAMHOUSE_STATE": str(tmp_path)})


def test_the_checkpoints_of_a_job_lie_by_its_name_where_flinks_own_configuration_says(settings: Settings, tmp_path: Path) -> None:
    assert checkpoint_folder(settings, "score_events") == settings.state / "flink" / "checkpoints" / "score_events"
    shared = tmp_path / "volume of all containers"
    file = settings.state / "flink" / "conf" / "config.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(yaml.safe_dump({"execution.checkpointing.dir": f"file://{shared}/chk"}), "utf-8")
    assert checkpoint_folder(settings, "score_events") == shared / "chk" / "score_events"


def test_a_start_clears_the_checkpoints_of_earlier_runs_of_that_job_alone(settings: Settings) -> None:
    for name in ("score_events", "archive_topics"):
        (checkpoint_folder(settings, name) / ("a" * 32) / "chk-7").mkdir(parents=True)
    clear_checkpoints(settings, "score_events")
    assert list(checkpoint_folder(settings, "score_events").iterdir()) == []
    assert len(list(checkpoint_folder(settings, "archive_topics").iterdir())) == 1


def test_a_storage_that_the_settings_name_holds_checkpoints_and_savepoints_and_nothing_is_deleted_there(tmp_path: Path) -> None:
    here = load_settings({"STREAMHOUSE_STATE": str(tmp_path)})
    assert checkpoint_address(here, "score_events") == f"file://{tmp_path}/flink/checkpoints/score_events"
    there = load_settings({"STREAMHOUSE_STATE": str(tmp_path), "STREAMHOUSE_FLINK_STORAGE_URI": "s3://bucket/flink"})
    assert checkpoint_address(there, "score_events") == "s3://bucket/flink/checkpoints/score_events"
    configured = flink_configuration(there)
    assert configured["execution.checkpointing.dir"] == "s3://bucket/flink/checkpoints"
    assert configured["execution.checkpointing.savepoint-dir"] == "s3://bucket/flink/savepoints"
    left = checkpoint_folder(there, "score_events") / ("a" * 32)
    left.mkdir(parents=True)
    clear_checkpoints(there, "score_events")
    assert left.is_dir()


def test_a_job_that_cannot_be_cancelled_is_a_sentence(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    nobody = load_settings({"STREAMHOUSE_STATE": str(tmp_path), "STREAMHOUSE_FLINK_REST_PORT": port})
    with pytest.raises(StreamhouseError, match="Flink's JobManager refused /jobs/a"):
        cancel(nobody, Job("a", "score_events", "RUNNING", 1.0))


_TRACE = """java.util.concurrent.CompletionException: java.util.concurrent.CompletionException: outer
\tat java.base/java.util.concurrent.CompletableFuture.encodeRelay(Unknown Source)
Caused by: org.apache.flink.runtime.checkpoint.CheckpointException: Checkpoint expired before completing.
\t... 8 more
"""


@pytest.mark.parametrize(
    ("trace", "told"), [(_TRACE, "CheckpointException: Checkpoint expired before completing"), ("", "CompletionException")]
)
def test_why_there_is_no_savepoint_is_told_by_the_innermost_reason(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, trace: str, told: str
) -> None:
    failed = {"failure-cause": {"class": "java.util.concurrent.CompletionException", "stack-trace": trace}}
    monkeypatch.setattr(flink_rest, "_post", lambda *_: {"request-id": "1"})
    monkeypatch.setattr(flink_rest, "_get", lambda *_: {"status": {"id": "COMPLETED"}, "operation": failed})
    with pytest.raises(StreamhouseError, match=rf"job score_events made no savepoint \([a-z.]*{told}.?\); see"):
        flink_rest.stop_with_savepoint(settings, Job("a", "score_events", "RUNNING", 1.0))
