"""A stack of a test's own: up and applied, without jobs."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

from infra.config import ROOT, Settings, load_settings
from infra.stack.stack import down, up
from jobs import apply
from tests.ports import free_ports

PORTS = (
    "KAFKA_PORT",
    "KAFKA_CONTROLLER_PORT",
    "FLINK_REST_PORT",
    "FLINK_RPC_PORT",
    "REDIS_PORT",
    "REGISTRY_PORT",
    "REGISTRY_MANAGEMENT_PORT",
)


def stack_settings(name: str, **overrides: str) -> Settings:
    """Settings of a stack in `.streamhouse/<name>` on free ports; `overrides` as SCORE_EVENTS_PARALLELISM="2"."""
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    variables = {f"STREAMHOUSE_{key}": value for key, value in (ports | overrides).items()}
    return load_settings({"STREAMHOUSE_STATE": str(ROOT / ".streamhouse" / name), **variables})


@contextlib.contextmanager
def fresh_stack(name: str, *, keep: bool = False, **overrides: str) -> Iterator[Settings]:
    """From nothing to up and applied; ended and deleted afterwards unless `keep`."""
    settings = stack_settings(name, **overrides)
    with empty_place(settings, keep=keep):
        up(settings, _silent)
        apply.main(settings)
        yield settings


@contextlib.contextmanager
def empty_place(settings: Settings, *, keep: bool = False) -> Iterator[None]:
    """Nothing runs in the state folder and nothing lies there; so again afterwards unless `keep`."""
    try:
        _clear(settings)  # of a run that was cut off
        yield
    finally:
        if not keep:
            _clear(settings)


def _clear(settings: Settings) -> None:
    down(settings, _silent, savepoints=False)
    shutil.rmtree(settings.state, ignore_errors=True)


def _silent(_: str) -> None:
    """What the stack says of itself is not what a test looks at."""
