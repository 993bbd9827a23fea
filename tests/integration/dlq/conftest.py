from __future__ import annotations

from pathlib import Path

import pytest

from infra.config import Settings, load_settings
from tests.brokers import empty_topics


@pytest.fixture
def settings(broker: Settings, tmp_path: Path) -> Settings:
    """The broker with empty topics."""
    own = load_settings({"STREAMHOUSE_STATE": str(tmp_path / "state"), "STREAMHOUSE_KAFKA_BOOTSTRAP_SERVERS": broker.kafka.servers})
    empty_topics(own)
    return own


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where a command's words go."""
    return tmp_path / "said"
