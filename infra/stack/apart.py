"""A stack apart from the user's: on free ports and in a state folder of its own, up and applied, ended and deleted afterwards."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from infra.config import Settings, load_settings
from infra.errors import StreamhouseError
from infra.stack.stack import down

PORTS = (
    "KAFKA_PORT",
    "KAFKA_CONTROLLER_PORT",
    "FLINK_REST_PORT",
    "FLINK_RPC_PORT",
    "REDIS_PORT",
    "REGISTRY_PORT",
    "REGISTRY_MANAGEMENT_PORT",
    "SHOP_HTTP_PORT",
    "PORTAL_PORT",
    "PORTAL_FEAST_PORT",
)
# below the range from which Linux takes the ports of outgoing connections, which could hold one while its service restarts
_FIRST, _LAST = 20_000, 32_000


def free_ports(count: int) -> list[str]:
    """So many ports of loopback on which nobody listens.

    Raises:
        StreamhouseError: there are none.

    """
    found: list[str] = []
    for port in random.Random(os.getpid()).sample(range(_FIRST, _LAST), 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(str(port))
        if len(found) == count:
            return found
    message = f"expected {count} free ports from {_FIRST} to {_LAST} on loopback, got {len(found)}; end what holds them"
    raise StreamhouseError(message)


def settings_apart(state: Path, **overrides: str) -> Settings:
    """Settings of a stack in `state` on free ports; `overrides` as SCORE_EVENTS_PARALLELISM="2"."""
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    variables = {f"STREAMHOUSE_{key}": value for key, value in (ports | overrides).items()}
    return load_settings({"STREAMHOUSE_STATE": str(state), **variables})


@contextlib.contextmanager
def empty_place(settings: Settings, *, keep: bool = False) -> Iterator[None]:
    """Nothing runs in the state folder and nothing lies there; so again afterwards unless `keep`."""
    try:
        clear(settings)  # of a run that was cut off
        yield
    finally:
        if not keep:
            clear(settings)


def clear(settings: Settings) -> None:
    """End what runs in the state folder and delete it."""
    down(settings, silent, savepoints=False)
    shutil.rmtree(settings.state, ignore_errors=True)


def silent(_: str) -> None:
    """For those who do not ask what a stack says of itself."""
