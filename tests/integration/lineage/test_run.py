"""Runs told to a file and to a server on loopback; whatever happens there, the job is as without it."""

from __future__ import annotations

import json
import logging
import multiprocessing
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from infra.config import Settings, load_settings
from infra.errors import SettingsError
from jobs.lineage import flink_runs
from jobs.lineage.data import table
from jobs.lineage.emit import lineage_file
from jobs.lineage.run import running
from tests.ports import free_ports

JOB = "0123456789abcdef0123456789abcdef"


def settings_of(folder: Path, **environment: str) -> Settings:
    return load_settings({"STREAMHOUSE_STATE": str(folder), **environment})


def lines(settings: Settings) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lineage_file(settings).read_text("utf-8").splitlines()]


def states(events: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(event["job"]["name"], event["eventType"], event["run"]["runId"]) for event in events]


def ids(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def test_a_run_is_told_from_its_start_to_its_end(tmp_path: Path) -> None:
    settings, clock = settings_of(tmp_path), count(1_000_000, 1000)
    with running(settings, "rebuild", [table(settings, "user_actions", 1)], clock=lambda: next(clock), new_id=lambda: ids(1)) as run:
        run.writes(table(settings, "feature_log", 2))
    with pytest.raises(ValueError, match="no rows"), running(settings, "train", new_id=lambda: ids(2)):
        raise ValueError("no rows")
    with pytest.raises(KeyboardInterrupt), running(settings, "backtest", new_id=lambda: ids(3)):
        raise KeyboardInterrupt
    events = lines(settings)
    assert states(events) == [
        ("rebuild", "START", ids(1)),
        ("rebuild", "COMPLETE", ids(1)),
        ("train", "START", ids(2)),
        ("train", "FAIL", ids(2)),
        ("backtest", "START", ids(3)),
        ("backtest", "ABORT", ids(3)),
    ]
    assert [event["eventTime"] for event in events[:2]] == ["1970-01-01T00:16:40.000Z", "1970-01-01T00:16:41.000Z"]
    assert [len(event["outputs"]) for event in events[:2]] == [0, 1]
    assert events[1]["inputs"][0]["facets"]["version"]["datasetVersion"] == "1"
    assert events[1]["outputs"][0]["facets"]["version"]["datasetVersion"] == "2"
    assert events[3]["run"]["facets"]["errorMessage"]["message"] == "ValueError: no rows"


def test_a_full_file_makes_room_for_one_more(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, STREAMHOUSE_LINEAGE_FILE_MEGABYTES="0")
    for number in range(3):
        with running(settings, "rebuild", new_id=lambda number=number: ids(number)):  # type: ignore[misc]
            pass
    file = lineage_file(settings)
    assert states(lines(settings)) == [("rebuild", "COMPLETE", ids(2))]
    assert json.loads(file.with_name(f"{file.name}.1").read_text())["eventType"] == "START"
    assert sorted(one.name for one in file.parent.iterdir() if not one.name.startswith(".")) == [file.name, f"{file.name}.1"]


RUNS = 40


def many(folder: Path, job: str) -> None:
    settings = settings_of(folder)
    for _ in range(RUNS):
        with running(settings, job, [table(settings, "feature_log", 1), table(settings, "receipts", 2)]):
            pass


def test_processes_that_tell_at_once_leave_whole_lines(tmp_path: Path) -> None:
    """Each event is larger than what a system writes at once."""
    other = multiprocessing.get_context("spawn").Process(target=many, args=(tmp_path, "other"))
    other.start()
    while not lineage_file(settings_of(tmp_path)).exists():
        assert other.is_alive()
        time.sleep(0.005)
    many(tmp_path, "own")
    other.join(120)
    assert other.exitcode == 0
    events = lines(settings_of(tmp_path))
    assert [sum(event["job"]["name"] == job for event in events) for job in ("own", "other")] == [2 * RUNS, 2 * RUNS]
    assert all(len(json.dumps(event)) > 4096 for event in events)


def test_nothing_is_told_where_nothing_is_set(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, STREAMHOUSE_LINEAGE_FILE="")
    with running(settings, "rebuild"):
        pass
    assert not (tmp_path / "lineage").exists()
    with pytest.raises(SettingsError, match=r"lineage\.address"):
        settings_of(tmp_path, STREAMHOUSE_LINEAGE_ADDRESS="127.0.0.1:5000")


def test_a_file_that_cannot_be_written_is_a_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "lineage").write_text("a file where the folder would be")
    done = []
    with running(settings_of(tmp_path), "rebuild"):
        done.append(1)
    assert done
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "START of job rebuild was not told to" in caplog.text


class Server(ThreadingHTTPServer):
    """Keeps what is posted; answers with `status`, once `may_answer`."""

    daemon_threads = True
    status = 201

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.came: list[tuple[str, dict[str, Any]]] = []
        self.may_answer = threading.Event()
        self.may_answer.set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Server)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.came.append((self.path, json.loads(body)))
        self.server.may_answer.wait(30)
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.may_answer.set()
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_address_is_told_the_same_and_no_file_is_written(tmp_path: Path) -> None:
    with serving() as server:
        settings = settings_of(tmp_path, STREAMHOUSE_LINEAGE_ADDRESS=server.address, STREAMHOUSE_LINEAGE_SECONDS="30")
        with running(settings, "rebuild", [table(settings, "user_actions", 1)], new_id=lambda: ids(1)):
            pass
        assert [path for path, _ in server.came] == ["/api/v1/lineage"] * 2
        assert states([event for _, event in server.came]) == [("rebuild", "START", ids(1)), ("rebuild", "COMPLETE", ids(1))]
    assert not (tmp_path / "lineage").exists()


def test_a_server_that_refuses_is_a_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with serving() as server:
        server.status = 500
        with running(settings_of(tmp_path, STREAMHOUSE_LINEAGE_ADDRESS=server.address, STREAMHOUSE_LINEAGE_SECONDS="30"), "rebuild"):
            pass
        assert len(server.came) == 2  # each once
    assert "COMPLETE of job rebuild was not told to http://127.0.0.1" in caplog.text
    assert "500" in caplog.text


def test_an_address_at_which_nobody_listens_is_a_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    settings = settings_of(tmp_path, STREAMHOUSE_LINEAGE_ADDRESS=address, STREAMHOUSE_LINEAGE_SECONDS="30")
    with pytest.raises(ValueError, match="its own"), running(settings, "rebuild"):
        raise ValueError("its own")
    assert f"START of job rebuild was not told to {address}" in caplog.text


def test_a_server_that_does_not_answer_holds_up_no_job(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with serving() as server:
        server.may_answer.clear()  # until the job is over, and has ended
        with running(settings_of(tmp_path, STREAMHOUSE_LINEAGE_ADDRESS=server.address, STREAMHOUSE_LINEAGE_SECONDS="1"), "rebuild"):
            pass
        assert not server.may_answer.is_set()
    assert "took longer than 1 s" in caplog.text


def test_a_stream_is_told_when_it_is_submitted_and_once_when_it_ended(tmp_path: Path) -> None:
    settings, times = settings_of(tmp_path), count(1000, 1000)
    flink_runs.started(settings, "archive_topics", JOB, lambda: next(times))
    flink_runs.started(settings, "score_events", JOB[::-1], lambda: next(times))
    flink_runs.started(settings, "score_events", "f" * 32, lambda: next(times))  # after a JobManager that died, unseen
    flink_runs.stopped(settings, lambda: next(times), savepoints=True)
    flink_runs.stopped(settings, lambda: next(times), savepoints=True)
    archive, scorer, again = (f"{job[:8]}-{job[8:12]}-{job[12:16]}-{job[16:20]}-{job[20:]}" for job in (JOB, JOB[::-1], "f" * 32))
    events = lines(settings)
    assert states(events) == [
        ("archive_topics", "START", archive),
        ("score_events", "START", scorer),
        ("score_events", "ABORT", scorer),
        ("score_events", "START", again),
        ("score_events", "COMPLETE", again),
        ("archive_topics", "COMPLETE", archive),
    ]
    assert {event["job"]["facets"]["jobType"]["processingType"] for event in events} == {"STREAMING"}
    assert [data["name"] for data in events[1]["outputs"]] == ["predictions", "user-actions-dlq"]
    assert events[1]["inputs"][1]["name"].endswith("models/published/purchase_30m/1")
    flink_runs.look(settings)  # with nothing under way, no JobManager is asked
