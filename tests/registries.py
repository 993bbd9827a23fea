"""The schema registry by itself, as `up` starts it, on free ports; ended by its process id."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator

import httpx
from confluent_kafka.schema_registry import SchemaRegistryClient

from infra.config import Settings
from infra.stack.jars import install
from infra.stack.services import services

_SECONDS = 180


def confluent_client(settings: Settings) -> SchemaRegistryClient:
    """Confluent's own, that asks again: this registry leaves some requests for paths that it does not have without an answer."""
    return SchemaRegistryClient({"url": settings.registry.confluent_url, "timeout": 10})


class Registry:
    """The registry of these settings: started, killed and started again with what it held."""

    def __init__(self, settings: Settings) -> None:
        install(settings)
        (settings.state / "registry").mkdir(parents=True, exist_ok=True)
        self._settings, self._service = settings, next(one for one in services(settings) if one.name == "registry")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Until it answers."""
        with (self._settings.state / "registry.log").open("ab") as log:
            self._process = subprocess.Popen(self._service.command, env={**os.environ, **self._service.environment}, stdout=log, stderr=log)
        deadline = time.monotonic() + _SECONDS
        while not self._answers():
            assert self._process.poll() is None, (self._settings.state / "registry.log").read_text("utf-8")[-2000:]
            assert time.monotonic() < deadline, "the registry did not come up in time"
            time.sleep(0.1)

    def kill(self) -> None:
        """Without a word to it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(120)
            self._process = None

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self._settings.registry.confluent_url}/subjects", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False


@contextlib.contextmanager
def running_registry(settings: Settings) -> Iterator[Registry]:
    """Started, and ended at the end."""
    registry = Registry(settings)
    try:
        registry.start()
        yield registry
    finally:
        registry.kill()
