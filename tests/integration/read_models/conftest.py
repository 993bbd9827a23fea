"""Both databases for real: a SQLite file, and one PostgreSQL server with an empty database for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.config import Settings, load_settings
from tests.integration.read_models.shop import Shop, new_shop
from tests.postgres import Postgres, running_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server."""
    with running_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, broker: Settings, tmp_path: Path) -> Settings:
    """A system of the one broker and an empty database."""
    there = {"STREAMHOUSE_STATE": str(tmp_path / "state"), "STREAMHOUSE_KAFKA_PORT": str(broker.kafka.port)}
    if request.param == "postgresql":
        there["STREAMHOUSE_READ_MODELS_URL"] = request.getfixturevalue("postgres").create_database(f"test{abs(hash(str(tmp_path)))}")
    return load_settings(there)


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    """Topics of its own, and the database opened."""
    with new_shop(settings) as shop:
        yield shop
