"""A job's program that Flink calls a second time, inside its own cluster, leaves alone what Flink has brought back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from infra.config import Settings
from infra.errors import StreamhouseError
from infra.stack import flink_rest
from jobs.flink import environment, launch

JOB = "0" * 32


class Environment:
    """What `launch` asks of a table environment before it starts anything."""

    def __init__(self, target: str) -> None:
        self._configuration = {"execution.target": target}

    def get_config(self) -> dict[str, str]:
        return self._configuration


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the program did that touches a running job."""
    done: list[str] = []

    @contextlib.contextmanager
    def alone(settings: Settings, name: str, **_: object) -> Iterator[None]:
        if flink_rest.running(settings, name):
            message = f"{name} runs already"
            raise StreamhouseError(message)
        yield

    monkeypatch.setattr(launch, "alone", alone)
    monkeypatch.setattr(launch, "_start", lambda *_: done.append("started"))
    monkeypatch.setattr("sys.argv", ["score_events.py"])
    return done


@pytest.mark.parametrize(
    ("target", "running", "answer", "done"),
    [
        ("embedded", JOB, True, []),
        ("embedded", None, True, ["checked", "started"]),
        ("remote", JOB, False, ["checked"]),
        ("remote", None, True, ["checked", "started"]),
    ],
)
def test_what_is_started(
    target: str, running: str | None, answer: bool, done: list[str], begun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "streaming", lambda *_: Environment(target))
    monkeypatch.setattr(flink_rest, "running", lambda *_: running)
    unused: Any = None
    assert launch.launch("score_events", lambda _: {}, unused, check=lambda _: begun.append("checked")) is answer
    assert begun == done


def test_a_cluster_of_its_own_that_does_not_answer_starts_nothing(begun: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Flink then calls the program again; what it has brought back would be harmed by a second start."""

    def silent(*_: object) -> str:
        raise StreamhouseError("Flink's JobManager does not answer")

    monkeypatch.setattr(environment, "streaming", lambda *_: Environment("embedded"))
    monkeypatch.setattr(flink_rest, "running", silent)
    unused: Any = None
    assert launch.launch("score_events", lambda _: {}, unused) is False
    assert begun == []
