"""Whether a service is up: each is asked something real."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

import httpx
import psutil

from infra.config import Settings
from infra.plain_http import NO_AUTHORITIES
from infra.stack import fork_client
from infra.stack.services import TASKMANAGERS, Service, beat_file
from infra.stack.sockets import forkserver_socket

_BEAT_SECONDS = 10.0


def answers(settings: Settings, name: str) -> bool:
    """Ask one service for what only a working one can answer."""
    try:
        return _CHECKS.get(name, _beats(name))(settings)
    except (OSError, httpx.HTTPError, ValueError, KeyError):
        return False


def _broker(settings: Settings) -> bool:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    if not is_open(settings.kafka.host, settings.kafka.port):
        return False
    try:
        client = AdminClient({**settings.kafka.client(), "log_level": 2})
        return bool(client.list_topics(timeout=3).brokers)
    except KafkaException:
        return False


def _jobmanager(settings: Settings) -> bool:
    return "taskmanagers" in _told(f"{settings.flink.rest_url}/overview")


def _taskmanager(name: str) -> Callable[[Settings], bool]:
    return lambda settings: name in {there["id"] for there in _told(f"{settings.flink.rest_url}/taskmanagers")["taskmanagers"]}


def _redis(settings: Settings) -> bool:
    with socket.create_connection((settings.redis.host, settings.redis.port), timeout=2) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(16).startswith(b"+PONG")


def _registry(settings: Settings) -> bool:
    return isinstance(_told(f"{settings.registry.confluent_url}/subjects"), list)


def _told(url: str) -> Any:  # noqa: ANN401 - JSON
    return httpx.get(url, timeout=2, verify=NO_AUTHORITIES).raise_for_status().json()


def _forkserver(settings: Settings) -> bool:
    if connection := fork_client.ask(str(forkserver_socket(settings)), {}):
        connection.close()
    return connection is not None


def beat(settings: Settings, name: str) -> None:
    """What a service of ours says of itself, between its duties."""
    settings.jobs_folder.mkdir(parents=True, exist_ok=True)
    beat_file(settings, name).touch()


def _beats(name: str) -> Callable[[Settings], bool]:
    return lambda settings: time.time() - beat_file(settings, name).stat().st_mtime < _BEAT_SECONDS


_CHECKS: dict[str, Callable[[Settings], bool]] = {
    "broker": _broker,
    "jobmanager": _jobmanager,
    **{name: _taskmanager(name) for name in TASKMANAGERS},
    "redis": _redis,
    "registry": _registry,
    "forkserver": _forkserver,
}


def address(settings: Settings, service: Service) -> str:
    """Where a client finds it."""
    if service.name == "jobmanager":
        return settings.flink.rest_url
    if service.name == "registry":
        return settings.registry.url
    if service.name == "broker":
        return settings.kafka.servers
    return f"{service.host}:{service.ports[0]}" if service.ports else ""


def is_open(host: str, port: int) -> bool:
    """Whether something listens there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def listens(processes: Iterable[psutil.Process]) -> set[int]:
    """The ports on which these processes, which are the caller's own, listen."""
    found = set()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            found |= {one.laddr.port for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN and one.laddr}
    return found


def holder(port: int) -> str:
    """Who listens on a port, as far as the system tells."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port and connection.pid:
                process = psutil.Process(connection.pid)
                return f"process {process.pid} ({process.name()})"
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        pass
    return "another program"
