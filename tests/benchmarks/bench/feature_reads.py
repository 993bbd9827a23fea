"""Features of many users beside Feast's own reader on the same store, and how soon a plain Feast reader sees an action."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson
from confluent_kafka import Producer

from features.activity import FEATURES
from features.feature_reader import FeatureReader
from features.online import ACTIVITY
from infra.clock import system_clock
from infra.contracts.codec import rfc3339
from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from infra.errors import StreamhouseError
from jobs.clickstream import Row
from jobs.scoring_parts import SOURCE_TOPIC
from tests.benchmarks.answers import AnswersWrong
from tests.benchmarks.bench.legs import OURS, Run, measured
from tests.benchmarks.bench.ratios import FRESH, READS

FEAST = "feast"
BATCH = 512
_NAMES = [f"{ACTIVITY}:{name}" for name in FEATURES]
_SEEN_WITHIN = 30.0


def reads(run: Run, store: Any, users: Sequence[str], repeats: int, seconds: float) -> None:
    """Both readers in turn, in batches of 512 distinct users; `store`: Feast's, over the same Redis.

    Raises:
        AnswersWrong: they give other values.

    """
    batches = [list(users[i : i + BATCH]) for i in range(0, len(users) - BATCH + 1, BATCH)]
    if not batches:
        message = f"feature reads: expected at least {BATCH} users in the store, got {len(users)}"
        raise StreamhouseError(message)
    reader = FeatureReader(run.settings.redis.host, run.settings.redis.port)

    def ours(batch: Sequence[str]) -> object:
        return reader.read(batch)

    def theirs(batch: Sequence[str]) -> object:
        return store.get_online_features(features=_NAMES, entity_rows=[{"user_id": user} for user in batch])

    try:
        for batch in batches[:4]:
            _same(reader, store, batch)
        for repeat in range(1, repeats + 1):
            for side, read in ((OURS, ours), (FEAST, theirs)):

                def timed(read: Callable[[Sequence[str]], object] = read) -> dict[str, Any]:
                    return _timed(read, batches, seconds)

                measured(run, READS, side, repeat, timed)
    finally:
        reader.close()


def _same(reader: FeatureReader, store: Any, batch: Sequence[str]) -> None:
    found = store.get_online_features(features=_NAMES, entity_rows=[{"user_id": user} for user in batch]).to_dict()
    theirs = np.array([[np.nan if value is None else value for value in found[name]] for name in FEATURES], np.float64).T
    ours = reader.read(batch).values
    if not np.array_equal(ours, theirs, equal_nan=True):
        i, j = np.argwhere(~((ours == theirs) | (np.isnan(ours) & np.isnan(theirs))))[0]
        message = f"feature reads: user {batch[i]}, {FEATURES[j]}: expected {theirs[i, j]}, as Feast reads it, got {ours[i, j]}"
        raise AnswersWrong(message)


def _timed(read: Callable[[Sequence[str]], object], batches: Sequence[Sequence[str]], seconds: float) -> dict[str, Any]:
    took: list[float] = []
    began = time.perf_counter()
    while (now := time.perf_counter()) - began < seconds or len(took) < 2:
        read(batches[len(took) % len(batches)])
        took.append(time.perf_counter() - now)
    return {"rows_per_second": BATCH * len(took) / sum(took), "batch_ms_p50": float(np.median(took)) * 1000, "batches": len(took)}


def freshness(run: Run, store: Any, rows: Sequence[Row], repeats: int, each: int) -> None:
    """Milliseconds from sending an action until Feast's own reader counts it, one action after the other.

    `rows`: the last actions of users that are in the store, more than all repeats take.
    """
    producer = Producer({**run.settings.kafka.client(), "enable.idempotence": True, "linger.ms": 0})
    partitions = load_contracts().topics[SOURCE_TOPIC].partitions
    left = list(rows)

    def seen() -> dict[str, Any]:
        waits = [_until_seen(store, producer, left.pop(), partitions) for _ in range(each)]
        return {"p50": float(np.percentile(waits, 50)), "p99": float(np.percentile(waits, 99)), "max": max(waits), "actions": each}

    for repeat in range(1, repeats + 1):
        measured(run, FRESH, OURS, repeat, seen)
    producer.flush(30)


def _until_seen(store: Any, producer: Producer, row: Row, partitions: int) -> float:
    name, entity = "actions_7d", [{"user_id": row.user_id}]

    def count() -> int:
        return int(store.get_online_features(features=[f"{ACTIVITY}:{name}"], entity_rows=entity).to_dict()[name][0] or 0)

    before, event = count(), orjson.loads(row.value)
    event |= {"eventId": str(uuid.uuid4()), "timestamp": rfc3339(min(row.time + 1000, system_clock()))}
    value = orjson.dumps(event)
    began = time.perf_counter()
    producer.produce(SOURCE_TOPIC, value, row.user_id.encode(), partition_of(row.user_id, partitions))
    producer.poll(0)
    while count() <= before:
        if time.perf_counter() - began > _SEEN_WITHIN:
            message = f"freshness: Feast does not see an action of user {row.user_id} within {_SEEN_WITHIN:.0f} s"
            raise StreamhouseError(message)
    return (time.perf_counter() - began) * 1000
