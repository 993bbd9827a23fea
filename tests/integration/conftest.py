"""One real Redis and one real broker for the tests that need one, on free ports, ended by their process ids."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest
import redis

from infra.config import Settings
from infra.stack.services import redis_server
from tests.brokers import own_broker
from tests.ports import free_ports


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a Redis on loopback."""
    port = int(free_ports(1)[0])
    folder = tmp_path_factory.mktemp("redis")
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", "--appendonly", "no"]
    server = subprocess.Popen([redis_server(), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        client = redis.Redis(port=port)
        deadline = time.monotonic() + 180
        while True:
            try:
                client.ping()
                break
            except redis.ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        client.close()
        yield port
    finally:
        server.terminate()
        server.wait(120)


@pytest.fixture
def empty_redis(redis_port: int) -> Iterator[int]:
    """The same Redis without data."""
    client = redis.Redis(port=redis_port)
    client.flushall()
    yield redis_port
    client.close()


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The embedded broker by itself. Whoever uses it makes its topics anew first: `empty_topics`."""
    with own_broker(tmp_path_factory.mktemp("broker")) as settings:
        yield settings
