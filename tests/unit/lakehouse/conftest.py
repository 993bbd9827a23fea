from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from infra.config import Settings, load_settings
from lakehouse import migrate

Rows = Callable[..., pa.Table]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of an empty lake."""
    return load_settings({"STREAMHOUSE_STATE": str(tmp_path / "state")})


@pytest.fixture
def lake(settings: Settings) -> Settings:
    """Settings of a lake in which every table exists."""
    migrate.apply(settings)
    return settings


@pytest.fixture(scope="module")
def shared_lake(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A lake for the tests of one file, which only read it: to make one costs a quarter of a second."""
    settings = load_settings({"STREAMHOUSE_STATE": str(tmp_path_factory.mktemp("lake"))})
    migrate.apply(settings)
    return settings


@pytest.fixture(scope="module")
def actions() -> Rows:
    """Rows for user_actions; the day of an action follows from its offset, so that files by day interleave."""

    def rows(partition: int, offsets: Sequence[int], value: bytes = b"v") -> pa.Table:
        days = [dt.datetime(2024, 1, 1 + offset % 3, tzinfo=dt.UTC) for offset in offsets]
        return pa.table(
            {
                "topic_partition": pa.array([partition] * len(offsets), pa.int32()),
                "topic_offset": pa.array(offsets, pa.int64()),
                "value": [value] * len(offsets),
                "headers": pa.array([[("trace", b"1")]] * len(offsets), pa.map_(pa.string(), pa.binary())),
                "event_time": days,
                "kafka_time": days,
                "user_id": [f"user_{offset % 2}" for offset in offsets],
                "action": ["purchase" if offset % 5 == 0 else "home" for offset in offsets],
            }
        )

    return rows
