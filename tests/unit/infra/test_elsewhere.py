"""A stack that others start, as Docker does: nothing is started or ended here, and what does not answer is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.config import Settings, load_settings
from infra.errors import StreamhouseError
from infra.stack import stack, supervise
from infra.stack.doctor import examine
from infra.stack.report import status
from tests.ports import free_ports

SERVICES = {"jobmanager", "taskmanager", "standby", "redis", "registry", "keeper", "meter"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Services elsewhere, at addresses where nobody answers."""
    named = dict(zip(("FLINK_REST_PORT", "REDIS_PORT", "REGISTRY_PORT"), free_ports(3), strict=True))
    named |= {"STATE": str(tmp_path), "STACK_START": "nothing", "KAFKA_BOOTSTRAP_SERVERS": "kafka:29092"}
    return load_settings({f"STREAMHOUSE_{name}": value for name, value in named.items()})


def test_up_only_waits(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "UP_SECONDS", 0.5)
    with pytest.raises(
        StreamhouseError, match=r"jobmanager, taskmanager, standby, redis, registry, keeper, meter did not answer within 0.5 s"
    ):
        stack.up(settings, print)
    assert not (settings.state / "supervisord.conf").exists()
    assert supervise.own_processes(settings) == []


def test_down_ends_nothing(settings: Settings) -> None:
    said: list[str] = []
    stack.down(settings, said.append)
    assert said == []


def test_who_does_not_answer_is_named(settings: Settings) -> None:
    assert {line.name: line.state for line in status(settings).services} == dict.fromkeys(SERVICES, "silent")
    assert {fault.split()[1] for fault in examine(settings) if "does not answer; start it where it runs" in fault} == SERVICES


def test_reset_says_who_deletes_instead(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from jobs.cli import reset

    monkeypatch.setenv("STREAMHOUSE_STATE", str(settings.state))
    monkeypatch.setenv("STREAMHOUSE_STACK_START", "nothing")
    with pytest.raises(StreamhouseError, match="docker compose down --volumes"):
        reset(yes=True)
    assert settings.state.exists()
