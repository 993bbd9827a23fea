"""The offline store where plain Feast code runs: in a script anywhere, behind Feast's command line, in materialize."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from feast import FeatureStore

from features.apply import apply
from features.dataset import SHA256
from features.materialize import materialize_profiles
from infra.config import ROOT, Settings, load_settings
from tests.training_sets import Planted, a_lake, a_store, fill, planted, retrieved
from tests.unit.features.known_then import known_then


def test_plain_feast_in_a_process_of_its_own_uses_it(small: tuple[Settings, FeatureStore, Planted], tmp_path: Path) -> None:
    settings, _, what = small
    what.entities.to_parquet(tmp_path / "entities.parquet")
    code = (
        "import sys, pandas as pd; from feast import FeatureStore;"
        "job = FeatureStore(sys.argv[1]).get_historical_features(pd.read_parquet(sys.argv[2]), ['user_activity:actions_10m']);"
        "print(type(job).__name__, job.to_arrow().schema.metadata[b'streamhouse.sha256'].decode())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(settings.feast_repo), str(tmp_path / "entities.parquet")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    wanted = retrieved(a_store(settings), what.entities, ["user_activity:actions_10m"]).schema.metadata[SHA256.encode()].decode()
    assert done.stdout.split() == ["StreamhouseRetrievalJob", wanted]


def test_the_committed_configuration_names_our_store() -> None:
    assert type(FeatureStore(str(ROOT / "features")).config.offline_store).__name__ == "StreamhouseOfflineStoreConfig"


def test_feasts_command_line_uses_it(small: tuple[Settings, FeatureStore, Planted], tmp_path: Path) -> None:
    settings, _, what = small
    moments = what.moments[:5]
    asked = [
        {"user_id": m.key, "event_timestamp": f"{datetime.fromtimestamp((m.time or 0) / 1e6, UTC):%Y-%m-%dT%H:%M:%S.%f}"} for m in moments
    ]
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "jobs.cli",
            "feast",
            "get-historical-features",
            "-d",
            json.dumps(asked),
            "-f",
            "user_activity:actions_10m",
        ],
        cwd=tmp_path,
        env={**os.environ, **settings.environment},
        capture_output=True,
        text=True,
        check=True,
    )
    got = [row["actions_10m"] for row in json.loads(done.stdout[done.stdout.index("[") :])]
    assert got == known_then(what.rows, moments)


def test_materialize_still_brings_the_latest_profiles(empty_redis: int, tmp_path: Path) -> None:
    """It goes through what the store keeps of Feast's own."""
    a_lake(tmp_path / "state")
    settings = load_settings({"STREAMHOUSE_STATE": str(tmp_path / "state"), "STREAMHOUSE_REDIS_PORT": str(empty_redis)})
    fill(settings, planted(100, 10, users=20))
    apply(settings)
    materialize_profiles(settings, datetime(2030, 1, 1, tzinfo=UTC))
    online = a_store(settings).get_online_features(["user_profile:channel"], [{"user_id": "user_0007"}]).to_dict()
    assert online["channel"] == ["channel 7"]
