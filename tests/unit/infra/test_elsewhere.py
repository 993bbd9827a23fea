"""A stack that others start, as Docker does: nothing is started or ended here, and what does not answer is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from infra.config import Settings, load_settings
from infra.errors import StreamhouseError
from infra.stack import added, health, stack, supervise
from infra.stack.doctor import examine
from infra.stack.report import status
from infra.stack.services import beat_file, services
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


def test_the_shops_services_are_seen_where_others_start_them(settings: Settings) -> None:
    with pytest.raises(StreamhouseError, match=r"expected order, payment to run, none answers; start them where .*--profile shop up"):
        added.add(settings, ["order", "payment"], print)
    assert {one.name for one in services(settings)} == SERVICES
    said: list[str] = []
    for name in ("order", "payment"):
        health.beat(settings, name)
    added.add(settings, ["order", "payment"], said.append)
    assert [sentence.split()[0] for sentence in said] == ["order", "payment"]
    assert {one.name for one in services(settings)} == {*SERVICES, "order", "payment"}
    with pytest.raises(StreamhouseError, match=r"expected no answer, got one of order; end them where they run, .*shop stop order"):
        added.remove(settings, ["order"])
    os.utime(beat_file(settings, "order"), (0, 0))
    assert {line.name: line.state for line in status(settings).services}.items() >= {"order": "silent", "payment": "up"}.items()
    added.remove(settings, ["order"])
    assert {one.name for one in services(settings)} == {*SERVICES, "payment"}
