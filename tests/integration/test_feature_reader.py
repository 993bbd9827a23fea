"""The fast reader gives what Feast gives for the same store, whoever wrote a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import redis
from feast import FeatureStore

from features.activity import COUNTS, FEATURES, SECONDS
from features.feature_reader import FeatureReader
from features.fold import fold
from features.history import NEVER, unpack
from features.online import Mark, OnlineStore
from tests.integration.test_feast_conformance import START, store
from tests.unit.features.by_definition import Action
from tests.unit.features.test_fold import as_arrays

__all__ = ["store"]  # a fixture

NAMES = [f"user_activity:{name}" for name in FEATURES]


@pytest.fixture
def reader(empty_redis: int) -> Iterator[FeatureReader]:
    made = FeatureReader("127.0.0.1", empty_redis)
    yield made
    made.close()


def write(port: int, logs: Sequence[Sequence[Action]]) -> list[str]:
    """Fold each log as a user's of its own and write the rows."""
    users = [f"user_{i:04}" for i in range(len(logs))]
    online = OnlineStore("127.0.0.1", port)
    online.open()
    online.acquire(0)
    for i, log in enumerate(logs):
        _, histories = fold(unpack([None], np.zeros(1, np.int64)), as_arrays(list(log)))
        online.write([users[i]], histories, np.array([0]), {0: Mark(max(action.offset for action in log), 0)})
    online.close()
    return users


def by_feast(store: FeatureStore, users: Sequence[str]) -> list[list[float | None]]:
    found = store.get_online_features(features=NAMES, entity_rows=[{"user_id": user} for user in users]).to_dict()
    return [[found[name][i] for name in FEATURES] for i in range(len(users))]


def by_us(reader: FeatureReader, users: Sequence[str]) -> list[list[float | None]]:
    return [[None if np.isnan(value) else value for value in row] for row in reader.read(users).values.tolist()]


def logs(rng: np.random.Generator, users: int) -> list[list[Action]]:
    """Of some, thousands of actions within minutes, so that counts pass every length of a varint."""
    made = []
    for user in range(users):
        n = int(rng.choice([1, 3, 40, 130, 5000]))
        times = START + np.sort(rng.integers(0, 8 * 24 * 3_600_000 if user % 2 else 60_000, n))
        made.append([Action(0, o, int(time), int(rng.integers(0, 5)), int(rng.integers(0, 3))) for o, time in enumerate(times)])
    return made


@pytest.mark.parametrize("seed", range(3))
def test_it_gives_what_feast_gives(empty_redis: int, store: FeatureStore, reader: FeatureReader, seed: int) -> None:
    rng = np.random.default_rng(seed)
    users = write(empty_redis, logs(rng, 40))
    asked = [*users, "nobody", *rng.choice(users, 20).tolist(), ""]
    assert by_us(reader, asked) == by_feast(store, asked)
    assert reader.read(["nobody"]).row_time.tolist() == [NEVER]


def test_a_row_that_another_wrote_since_is_read_as_it_is_now(empty_redis: int, store: FeatureStore, reader: FeatureReader) -> None:
    users = write(empty_redis, logs(np.random.default_rng(7), 3))
    later = datetime.fromtimestamp(START / 1000, UTC) + timedelta(days=30)
    row = {"user_id": [users[1], "new"], "event_time": [later] * 2, "created": [later] * 2, "history": [b""] * 2}
    row |= {name: [2**40, -3] for name in COUNTS} | {name: [0.25, float("nan")] for name in SECONDS}
    store.write_to_online_store("user_activity", pd.DataFrame(row))
    asked = [*users, "new"]
    assert by_us(reader, asked) == by_feast(store, asked)
    assert by_us(reader, asked)[1][0] == 2**40
    assert reader.read(asked).row_time[1:].tolist()[::2] == [int(later.timestamp() * 1000)] * 2


def test_of_nobody_there_are_no_rows(reader: FeatureReader) -> None:
    found = reader.read([])
    assert found.values.shape == (0, len(FEATURES))
    assert found.row_time.shape == (0,)


def test_what_is_no_row_is_an_error(empty_redis: int, reader: FeatureReader) -> None:
    from features.online_keys import row_key

    redis.Redis(port=empty_redis).set(row_key("user"), b"text")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        reader.read(["user"])
