"""A port on which another listens is told, and one on which this stack does is not, whatever listens elsewhere by the same number."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from infra.config import load_settings
from infra.stack import doctor, supervise
from infra.stack.services import services

Found = Callable[[int], list[str]]


@pytest.fixture
def found(tmp_path: Path) -> Found:
    """What is told of a stack whose Redis has this port."""

    def of(port: int) -> list[str]:
        settings = load_settings({"STREAMHOUSE_STATE": str(tmp_path), "STREAMHOUSE_REDIS_PORT": str(port)})
        return list(doctor.ports_of_others(settings, [service for service in services(settings) if service.name == "redis"]))

    return of


@pytest.mark.parametrize("is_ours", [True, False])
def test_who_listens_decides(found: Found, monkeypatch: pytest.MonkeyPatch, is_ours: bool) -> None:
    monkeypatch.setattr(supervise, "own_processes", lambda _: [psutil.Process()] if is_ours else [])
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        told = found(port)
    other = f"port {port} of redis is held by process {os.getpid()} ({psutil.Process().name()}), which is not of this stack"
    assert told == ([] if is_ours else [other])


def test_another_address_is_nobodys_business(found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "own_processes", lambda _: [])
    with socket.create_server(("127.0.0.2", 0)) as other:
        assert found(other.getsockname()[1]) == []
