"""The real stack on ports and in a folder of its own, so that a user's running one is left alone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.config import ROOT, Settings, load_settings

PORTS = {
    "KAFKA_PORT": "29392",
    "KAFKA_CONTROLLER_PORT": "29393",
    "FLINK_REST_PORT": "28381",
    "FLINK_RPC_PORT": "26323",
    "REDIS_PORT": "26579",
    "REGISTRY_PORT": "28380",
    "REGISTRY_MANAGEMENT_PORT": "28390",
}


@pytest.fixture(scope="session")
def stack() -> Iterator[Settings]:
    """Everything up, applied, and both jobs submitted; ended and deleted afterwards unless KEEP_STACK is set."""
    from infra.stack.stack import down, up
    from jobs import apply
    from jobs.submit import submit

    before = dict(os.environ)
    state = ROOT / ".streamhouse" / "test"
    os.environ.update({f"STREAMHOUSE_{name}": port for name, port in PORTS.items()})
    os.environ["STREAMHOUSE_STATE"] = str(state)
    settings = load_settings()
    said: list[str] = []
    try:
        down(settings, said.append, savepoints=False)
        shutil.rmtree(state, ignore_errors=True)
        up(settings, said.append)
        apply.main(settings)
        submit(settings, "score_events")
        submit(settings, "archive_topics")
        yield settings
    finally:
        if not os.environ.get("KEEP_STACK"):
            down(settings, said.append, savepoints=False)
            shutil.rmtree(state, ignore_errors=True)
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def shop() -> Path:
    """The clickstream that ships with the project."""
    return ROOT / "data" / "shop_clickstream.csv.gz"
