"""Our bytes in Redis are Feast's bytes: what we write, plain Feast reads, and what Feast writes, we read."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import redis
from feast import FeatureStore

from features import feast_bytes as fb
from features.activity import FEATURES
from features.fold import fold
from features.history import unpack
from features.online import Mark, OnlineStore
from tests.unit.features.by_definition import Action, features_at
from tests.unit.features.test_fold import as_arrays

START = 1_700_000_000_123


@pytest.fixture
def store(empty_redis: int, tmp_path: Path) -> FeatureStore:
    """A Feast store with the project's definitions over the test's Redis."""
    from features.definitions import definitions
    from infra.config import load_settings

    settings = load_settings({"STREAMHOUSE_STATE": str(tmp_path), "STREAMHOUSE_REDIS_PORT": str(empty_redis)})
    from features.apply import write_configuration

    made = FeatureStore(fs_yaml_file=write_configuration(settings))
    made.apply([d for d in definitions(settings) if d.name != "purchase_30m"], partial=True)
    return made


@pytest.mark.parametrize("user", ["user_0001", "", "ü-ñ-漢字", "a" * 128])
def test_plain_feast_reads_what_the_fold_wrote(empty_redis: int, store: FeatureStore, user: str) -> None:
    log = [Action(0, 10 + o, START + o * 90_000, o % 5, o // 3) for o in range(12)]
    online = OnlineStore("127.0.0.1", empty_redis)
    online.open()
    online.acquire(0)
    arrays = as_arrays(log)
    _, histories = fold(unpack([None], np.zeros(1, np.int64)), arrays)
    online.write([user], histories, np.array([0]), {0: Mark(21, 0)})

    names = [f"user_activity:{name}" for name in FEATURES]
    response = store.get_online_features(features=names, entity_rows=[{"user_id": user}]).to_dict()
    expected = features_at(log, log[-1].time)
    assert {name: response[name][0] for name in FEATURES} == expected
    online.close()


def test_our_encoding_is_feasts_to_the_byte(empty_redis: int, store: FeatureStore) -> None:
    from feast.infra.online_stores.helpers import _mmh3, _redis_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value
    from google.protobuf.timestamp_pb2 import Timestamp

    for user in ("u", "user_0599", "漢"):
        key = EntityKey(join_keys=["user_id"], entity_values=[Value(string_val=user)])
        assert fb.entity_key("streamhouse", "user_id", user) == _redis_key("streamhouse", key, 3)
    assert fb.field("user_activity", "visits_7d") == _mmh3("user_activity:visits_7d")
    for number in (0, 1, 127, 128, 4095, 4096, 2**40, -1):
        assert fb.int64_value(number) == Value(int64_val=number).SerializeToString()
    for real in (0.0, -1.5, 1e300):
        assert fb.double_value(real) == Value(double_val=real).SerializeToString()
    assert fb.double_value(float("nan")) == Value().SerializeToString()
    for data in (b"", b"x" * 127, b"x" * 40_000):
        assert fb.bytes_value(data) == Value(bytes_val=data).SerializeToString()
        assert fb.read_bytes(fb.bytes_value(data)) == data
    for moment in (0, 999, 1000, START):
        stamp = Timestamp(seconds=moment // 1000, nanos=moment % 1000 * 1_000_000)
        assert fb.timestamp(moment) == stamp.SerializeToString()
        assert fb.read_timestamp(fb.timestamp(moment)) == moment


def test_we_read_the_profile_that_feast_wrote(empty_redis: int, store: FeatureStore) -> None:
    import pandas as pd

    known = datetime(2024, 1, 4, 10, 21, 14, tzinfo=UTC)
    frame = pd.DataFrame(
        {
            "user_id": ["a", "b"],
            "channel": ["email", None],
            "cohort": ["2024-01", "2024-02"],
            "known_from": [known] * 2,
            "created": [known] * 2,
        }
    )
    store.write_to_online_store("user_profile", frame)
    online = OnlineStore("127.0.0.1", empty_redis)
    online.open()
    online.acquire(0)
    _, profiles = online.read(["a", "b", "nobody"], np.zeros(3, np.int64))
    assert profiles.columns == {"channel": ["email", None, None], "cohort": ["2024-01", "2024-02", None]}
    assert profiles.known.tolist() == [int(known.timestamp() * 1000)] * 2 + [-1]
    online.close()


def test_the_test_redis_is_reachable_by_plain_clients(empty_redis: int) -> None:
    assert redis.Redis(port=empty_redis).ping()
