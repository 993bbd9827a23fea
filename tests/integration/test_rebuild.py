"""A rebuild from the archive against the stream: the same actions, a real lake, a real Redis, and the same features."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import redis

from features.activity import FEATURES
from features.enrich import Batch, Enricher
from features.memory_store import MemoryStore
from features.online import OnlineStore
from features.online_keys import ACTIVITY
from infra.config import ROOT, Settings, load_settings
from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from jobs.archived_log import LogCutError, before_the_topic
from jobs.clickstream import open_clickstream, rows
from jobs.rebuild_features import feature_log
from jobs.records import Records, offset_ranges
from jobs.scoring_parts import rules
from jobs.scoring_path import accept
from lakehouse import migrate
from lakehouse.read import snapshot
from tests.lake import put_records

ACTIONS = 1500
PARTITIONS = load_contracts().topics["user-actions"].partitions
EVERYTHING = 2**62


@pytest.fixture(scope="module")
def archive() -> pa.Table:
    """The clickstream's first days as archived records, bad ones and gaps in the offsets among them."""
    offsets = [5] * PARTITIONS
    columns: list[tuple[int, int, bytes, bytes, int]] = []
    for row in islice(rows(open_clickstream(ROOT / "data" / "shop_clickstream.csv.gz")), ACTIONS):
        partition = partition_of(row.user_id, PARTITIONS)
        for value in (row.value, b"no json") if row.number % 50 == 0 else (row.value,):
            offsets[partition] += 1 + (row.number % 97 == 0)
            columns.append((partition, offsets[partition], row.user_id.encode(), value, row.time))
    places, offset, key, content, time = (list(column) for column in zip(*columns, strict=True))
    at = pa.array(time, pa.timestamp("ms", "UTC")).cast(pa.timestamp("us", "UTC"))
    return pa.table(
        {
            "topic_partition": pa.array(places, pa.int32()),
            "topic_offset": pa.array(offset, pa.int64()),
            "key": pa.array(key, pa.binary()),
            "value": pa.array(content, pa.binary()),
            "kafka_time": at,
            "event_time": at,
        }
    )


@pytest.fixture
def settings(tmp_path: Path, archive: pa.Table, empty_redis: int) -> Settings:
    own = load_settings({"STREAMHOUSE_STATE": str(tmp_path / "state"), "STREAMHOUSE_REDIS_PORT": str(empty_redis)})
    migrate.apply(own)
    put_records(own, "user_actions", archive)
    return own


def milliseconds(time: datetime) -> int:
    return round(time.timestamp() * 1000)


def streamed(archive: pa.Table, port: int, seed: int) -> dict[tuple[int, int], list[float]]:
    """Each accepted action's features as a stream of random batches, which crash now and then, folds them into Redis."""
    rng, source_rules = random.Random(seed), rules()
    answers: dict[tuple[int, int], list[float]] = {}
    for partition in range(PARTITIONS):
        mine = archive.filter(pc.equal(archive["topic_partition"], partition)).to_pylist()
        worker, committed, position = a_worker(port, committed_at := [0]), 0, 0
        while position < len(mine):
            part = mine[position : position + rng.randint(1, 120)]
            records = Records(
                [row["key"] for row in part],
                [row["value"] for row in part],
                np.array([row["topic_partition"] for row in part], np.int64),
                np.array([row["topic_offset"] for row in part], np.int64),
                np.array([milliseconds(row["kafka_time"]) for row in part], np.int64),
            )
            accepted, _ = accept(records, source_rules)
            values = worker(accepted.batch, *offset_ranges(records)).rows.values
            answers |= {(partition, offset): list(row) for offset, row in zip(accepted.batch.offset.tolist(), values.tolist(), strict=True)}
            position += len(part)
            if rng.random() < 0.5:
                committed, committed_at[0] = position, part[-1]["topic_offset"] + 1
            elif rng.random() < 0.3:
                worker, position = a_worker(port, committed_at), committed
    return answers


def a_worker(port: int, committed: list[int]) -> Enricher:
    def nothing_missed(partition: int, first: int, end: int) -> Iterator[Batch]:
        yield from ()

    return Enricher(OnlineStore("127.0.0.1", port), nothing_missed, lambda _: committed[0], lambda _: None, wait_seconds=0)


def readable(port: int) -> dict[bytes, dict[bytes, bytes]]:
    """All that Feast reads, and the position behind it; the history may be merged further or less far."""
    from features import feast_bytes as fb

    client: Any = redis.Redis(port=port)
    held = {key: client.hgetall(key) for key in client.scan_iter(count=1000) if client.type(key) == b"hash"}
    client.close()
    history = fb.field(ACTIVITY, "history")
    return {key: {k: v for k, v in row.items() if k != history} for key, row in held.items() if fb.timestamp_field(ACTIVITY) in row}


def as_answers(tables: list[pa.Table]) -> dict[tuple[int, int], list[float]]:
    found = {}
    for row in pa.concat_tables(tables).to_pylist():
        values = [np.nan if row[name] is None else float(row[name]) for name in FEATURES]
        found[row["topic_partition"], row["topic_offset"]] = values
    return found


@pytest.mark.parametrize("seed", range(3))
def test_what_a_rebuild_makes_equals_what_the_stream_made(settings: Settings, archive: pa.Table, seed: int) -> None:
    port, pinned = settings.redis.port, snapshot(settings, "user_actions")
    assert pinned is not None
    live = streamed(archive, port, seed)
    stands = readable(port)
    assert len(live) == ACTIONS
    assert len(stands) > 100

    again = as_answers(list(feature_log(settings, pinned, OnlineStore("127.0.0.1", port), lambda _: EVERYTHING)))
    assert readable(port) == stands
    for made in (again, as_answers(list(feature_log(settings, pinned, MemoryStore(), lambda _: EVERYTHING)))):
        assert made.keys() == live.keys()
        np.testing.assert_array_equal(np.array([made[place] for place in live]), np.array(list(live.values())))


def test_a_row_tells_the_logs_clock_when_it_became_known(tmp_path: Path, archive: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lakehouse.read._LOG_ROWS", 10)  # many batches: the clock goes on from one to the next
    own = load_settings({"STREAMHOUSE_STATE": str(tmp_path / "state")})
    migrate.apply(own)
    place = ["topic_partition", "topic_offset"]
    shuffled = archive.filter(pc.equal(archive["topic_partition"], 1))
    moved = pa.array(random.Random(4).sample(range(len(shuffled)), len(shuffled)))  # most actions come late
    late = pa.table({name: shuffled[name] if name in place else shuffled[name].take(moved) for name in shuffled.column_names})
    put_records(own, "user_actions", late)
    pinned = snapshot(own, "user_actions")
    assert pinned is not None
    parts = list(feature_log(own, pinned, MemoryStore(), lambda _: EVERYTHING))
    assert len(parts) > 10
    clock, behind = None, 0
    for row in pa.concat_tables(parts).to_pylist():
        clock = row["event_time"] if clock is None else max(clock, row["event_time"])
        behind += row["event_time"] < clock
        assert row["created"] == clock
    assert behind > 100


def test_where_the_topic_was_cut_the_archive_goes_on(settings: Settings, archive: pa.Table) -> None:
    wanted = [row for row in archive.to_pylist() if row["topic_partition"] == 1 and 10 <= row["topic_offset"] < 60]
    got = list(before_the_topic(settings, 1, 10, 60))
    assert [int(offset) for records in got for offset in records.offset] == [row["topic_offset"] for row in wanted]
    assert [value for records in got for value in records.values] == [row["value"] for row in wanted]
    assert [int(ms) for records in got for ms in records.kafka_ms] == [milliseconds(row["kafka_time"]) for row in wanted]


@pytest.mark.parametrize(("first", "low"), [(0, 60), (10, 100_000)])
def test_actions_that_are_nowhere_any_more_are_said(settings: Settings, first: int, low: int) -> None:
    with pytest.raises(LogCutError, match=f"partition 1: expected offsets {first} to {low - 1} in table user_actions"):
        list(before_the_topic(settings, 1, first, low))
