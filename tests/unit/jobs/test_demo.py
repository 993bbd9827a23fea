"""What the demo tells at its end, from the tables."""

from __future__ import annotations

import datetime as dt
from io import StringIO
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from infra.config import Settings, load_settings
from jobs.demo import ACTIONS, ANSWERS, _summary
from lakehouse import migrate
from lakehouse.archives import of_actions
from lakehouse.tables import TABLES
from tests.evolved import action, own, with_version
from tests.lake import put_records

SEEN = dt.datetime(2024, 3, 13, 10, 22, 12, tzinfo=dt.UTC)
WORDS = ["product_view", "purchase", "product_view"]


def told(settings: Settings) -> str:
    console = Console(file=StringIO(), record=True, width=200)
    counts = dict.fromkeys((ACTIONS, *ANSWERS), 3)
    _summary(settings, console, counts, counts, lambda _: None)
    return console.export_text()


def test_it_counts_purchases_whatever_their_fields_are_called_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings({"STREAMHOUSE_STATE": str(tmp_path / "state")})
    migrate.apply(settings)
    place = {"topic_partition": pa.array([0] * 3, pa.int32()), "topic_offset": pa.array(range(3), pa.int64())}
    users, times = ["ann", "ann", "bob"], [SEEN + dt.timedelta(minutes=number) for number in range(3)]
    values = [action(number, user=user, action=word) for number, (user, word) in enumerate(zip(users, WORDS, strict=True))]
    common = {**place, "event_time": times, "kafka_time": times, "user_id": users}
    event = {"event_type": ["UserAction"] * 3, "event_version": pa.array([1] * 3, pa.int32())}
    put_records(settings, "user_actions", pa.table({**common, **event, "value": values, "action": WORDS}))
    answers = {"action_partition": place["topic_partition"], "action_offset": place["topic_offset"]}
    scores = {"score": pa.array([0.9, 0.5, 0.1], pa.float32()), "flags": pa.array([[]] * 3, pa.list_(pa.string()))}
    put_records(settings, "predictions", pa.table({**common, **answers, **scores}))
    before = told(settings)
    assert "3 actions of which 1 were followed by a purchase" in before
    assert "100.0" in before

    monkeypatch.setitem(TABLES, "user_actions", of_actions(with_version(own(), {"userId": "actorId", "action": "kind"}, {}, {})))
    migrate.apply(settings, {"user_actions": TABLES["user_actions"]})
    assert told(settings) == before.replace("SELECT action,", "SELECT kind,").replace("GROUP BY action", "GROUP BY kind")
