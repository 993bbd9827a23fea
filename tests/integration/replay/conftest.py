"""A history in real tables, made once: a thousand real actions, some of them bad or late, scored in random batches."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pytest

from infra.config import ROOT, Settings, load_settings
from jobs.clickstream import Row, open_clickstream, profiles, rows
from lakehouse import migrate
from lakehouse.append import append
from tests.histories import Made, answered, log_of, profiles_of, put

ACTIONS = 1200
GOOD = ACTIONS - ACTIONS // 50
PLANTED = 300  # the place of the prediction that tests change


def some_rows() -> list[Row]:
    """Actions in a disorder that devices make: one in twenty comes a little later, one in a hundred much later, one in fifty is bad."""
    rng, ready, held = random.Random(7), list[tuple[int, Row]](), list[tuple[int, Row]]()
    for number, row in enumerate(islice(rows(open_clickstream(ROOT / "data" / "shop_clickstream.csv.gz")), ACTIONS)):
        sent = replace(row, value=b"no json") if number % 50 == 49 else row
        late = rng.randint(1, 20) if rng.random() < 0.05 else rng.randint(100, 400) if rng.random() < 0.01 else 0
        (held if late else ready).append((number + late, sent))
    return [row for _, row in sorted(ready + held, key=lambda pair: pair[0])]


def real_profiles() -> pa.Table:
    """Profiles of the clickstream's users."""
    return profiles(open_clickstream(ROOT / "data" / "shop_clickstream.csv.gz"))


def with_profiles(settings: Settings) -> Settings:
    """The lake with the profiles of its users."""
    append(settings, "user_profiles", real_profiles(), "profiles")
    return settings


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Made]:
    """The settings of the lake, and what lies in it."""
    settings = load_settings({"STREAMHOUSE_STATE": str(tmp_path_factory.mktemp("history") / "state")})
    migrate.apply(settings)
    answers = answered(settings, log_of(some_rows(), seed=1), 2, profiles_of(real_profiles()))
    put(settings, answers)
    return with_profiles(settings), answers


@pytest.fixture
def settings(made: tuple[Settings, Made]) -> Settings:
    """The lake of the history."""
    return made[0]


def a_lake(folder: Path, made: Made) -> Settings:
    """Another lake with the same or changed records."""
    settings = load_settings({"STREAMHOUSE_STATE": str(folder / "state")})
    migrate.apply(settings)
    put(settings, made)
    return settings
