"""A small lake that a test may change."""

from __future__ import annotations

from pathlib import Path

import pytest
from feast import FeatureStore

from infra.config import Settings
from tests.training_sets import Planted, a_lake, a_store, fill, planted


@pytest.fixture
def small(tmp_path: Path) -> tuple[Settings, FeatureStore, Planted]:
    """A lake that a test may change."""
    settings, what = a_lake(tmp_path / "state"), planted(3000, 600, seed=1, users=60, nulls=False)
    fill(settings, what)
    return settings, a_store(settings), what
