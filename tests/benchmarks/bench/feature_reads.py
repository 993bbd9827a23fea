"""Features of many users beside Feast's own reader on the same store, and how soon a plain Feast reader sees an action."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import orjson
from confluent_kafka import Producer
from feast import FeatureService
from numpy.typing import NDArray

from features.activity import FEATURES
from features.apply import apply, feature_store
from features.feature_reader import FeatureReader
from features.online import ACTIVITY, JOIN_KEY
from infra.clock import system_clock
from infra.config import Settings
from infra.contracts.codec import rfc3339
from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from infra.errors import StreamhouseError
from jobs.clickstream import Row
from jobs.scoring_parts import SOURCE_TOPIC
from tests.benchmarks.answers import AnswersWrong
from tests.benchmarks.bench.legs import OURS, Run, measured
from tests.benchmarks.bench.ratios import FEAST, FEAST_VECTORS, FRESH, READS
from tests.benchmarks.sides import own_redis, rows_of

BATCH = 512
_NAMES = [f"{ACTIVITY}:{name}" for name in FEATURES]
_SEEN_WITHIN = 30.0


Read = Callable[[Sequence[str]], object]


def reads(run: Run, users: Sequence[str], repeats: int, seconds: float) -> None:
    """Three readers in turn, in batches of 512 distinct users: ours, Feast's own, and Feast's own from vectors that it made beforehand.

    All read one Redis that holds the users' rows as score_events wrote them: beside the stack's, as Feast makes vectors of all rows of a
    store, and writes them into these.

    Raises:
        AnswersWrong: they give other values for any user.

    """
    batches = [list(users[i : i + BATCH]) for i in range(0, len(users) - BATCH + 1, BATCH)]
    if not batches:
        message = f"feature reads: expected at least {BATCH} users in the store, got {len(users)}"
        raise StreamhouseError(message)
    with own_redis(run.settings, "reads", rows_of(run.settings, users)) as (port, _):
        store, vectors = _stores(run.settings, int(port))
        with closing(FeatureReader(run.settings.redis.host, int(port))) as reader:

            def theirs(batch: Sequence[str]) -> Any:
                return store.get_online_features(features=_NAMES, entity_rows=_entities(batch))

            def precomputed(batch: Sequence[str]) -> Any:
                return store.get_online_features(features=vectors, entity_rows=_entities(batch), full_feature_names=True)

            for batch in batches:
                ours = reader.read(batch).values
                _same(FEAST, batch, ours, _columns(theirs(batch), FEATURES))
                _same(FEAST_VECTORS, batch, ours, _columns(precomputed(batch), [f"{ACTIVITY}__{name}" for name in FEATURES]))
            sides: dict[str, Read] = {OURS: reader.read, FEAST: theirs, FEAST_VECTORS: precomputed}
            for repeat in range(1, repeats + 1):
                for side, read in sides.items():
                    measured(run, READS, side, repeat, partial(_timed, read, batches, seconds))


def _stores(settings: Settings, port: int) -> tuple[Any, Any]:
    """Feast over the Redis at this port, with a registry of its own, and a service whose vectors it has made."""
    own = replace(settings, state=settings.state / "reads", redis=replace(settings.redis, port=port))
    apply(own)
    store: Any = feature_store(own)
    view = store.get_feature_view(ACTIVITY)
    store.apply([FeatureService(name="vectors", features=[view[list(FEATURES)]], precompute_online=True)])
    store.precompute_feature_service("vectors")
    return store, store.get_feature_service("vectors")


def _entities(batch: Sequence[str]) -> list[dict[str, str]]:
    return [{JOIN_KEY: user} for user in batch]


def _columns(found: Any, names: Sequence[str]) -> NDArray[np.float64]:
    read = found.to_dict()
    return np.array([[np.nan if value is None else value for value in read[name]] for name in names], np.float64).T


def _same(side: str, batch: Sequence[str], ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> None:
    if not np.array_equal(ours, theirs, equal_nan=True):
        i, j = np.argwhere(~((ours == theirs) | (np.isnan(ours) & np.isnan(theirs))))[0]
        message = f"feature reads: user {batch[i]}, {FEATURES[j]}: expected {theirs[i, j]}, as {side} reads it, got {ours[i, j]}"
        raise AnswersWrong(message)


def _timed(read: Read, batches: Sequence[Sequence[str]], seconds: float) -> dict[str, Any]:
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
