"""Features of many users beside Feast's own reader on the same store, and how soon a plain Feast reader sees an action."""

from __future__ import annotations

import multiprocessing
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import orjson
from confluent_kafka import KafkaError, Message, Producer
from feast import FeatureService
from numpy.typing import NDArray

from features.activity import FEATURES
from features.apply import apply, feature_store
from features.feature_reader import FeatureReader
from features.online_keys import ACTIVITY, JOIN_KEY
from infra.clock import system_clock
from infra.config import Settings
from infra.contracts.codec import rfc3339
from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from infra.errors import StreamhouseError
from jobs.clickstream import Row
from jobs.scoring_parts import SOURCE_TOPIC
from tests.benchmarks.actions import Section
from tests.benchmarks.answers import Answers, AnswersWrong, Place, Sent, faults
from tests.benchmarks.bench.legs import OURS, TRIES, Run, measured
from tests.benchmarks.bench.ratios import FEAST, FEAST_VECTORS, FRESH, FRESH_LOADED, PER_SECOND, READS
from tests.benchmarks.latency import send_at_rate
from tests.benchmarks.sides import Side, own_redis, rows_of

BATCH = 512
_NAMES = [f"{ACTIVITY}:{name}" for name in FEATURES]
_SEEN_WITHIN = 30.0
_BEGINS_SECONDS = 1.0  # a sender that is asked to send does so by then


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


def freshness(run: Run, side: Side, store: Any, rows: Sequence[Row], repeats: int, each: int, loads: Iterator[Sequence[Row]]) -> None:
    """Milliseconds from sending an action until Feast's own reader counts it, one action after the other: on a stack that has nothing else
    to do, and while the actions of one of `loads` come at a fixed rate.

    `rows`: the last actions of users that are in the store; they go on from there, each in turn.

    Raises:
        AnswersWrong: an action was left unanswered or answered twice.

    """
    partitions = load_contracts().topics[SOURCE_TOPIC].partitions
    one_by_one = _OneByOne(run.settings, store, rows, partitions)

    def figures(waits: Sequence[float], sent: Sent) -> dict[str, Any]:
        _see_answers(side, sent | one_by_one.sent())
        return {"p50": float(np.percentile(waits, 50)), "p99": float(np.percentile(waits, 99)), "max": max(waits), "actions": len(waits)}

    def at_rest() -> dict[str, Any]:
        return figures([one_by_one.wait() for _ in range(each)], {})

    # in a process of its own: in a thread it would wait for the reader's Python, and the reader for it
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as sender:
        sender.submit(send_at_rate, run.settings, SOURCE_TOPIC, [], partitions, PER_SECOND).result()  # it has imported what it needs

        def beside_load() -> dict[str, Any]:
            sending = sender.submit(send_at_rate, run.settings, SOURCE_TOPIC, next(loads), partitions, PER_SECOND)
            time.sleep(_BEGINS_SECONDS)
            waits = [one_by_one.wait()]
            while not sending.done():
                waits.append(one_by_one.wait())
            return figures(waits, dict.fromkeys(sending.result()[1].values()))

        for repeat in range(1, repeats + 1):
            measured(run, FRESH, OURS, repeat, at_rest)
            measured(run, FRESH_LOADED, OURS, repeat, beside_load)


def load_sections(repeats: int, seconds: int) -> list[Section]:
    """What comes beside while freshness is measured."""
    return [Section(f"fresh-load-{number}", seconds * PER_SECOND) for number in range(repeats * TRIES)]


class _OneByOne:
    """Actions that are sent one after the other, each when Feast has seen the one before."""

    def __init__(self, settings: Settings, store: Any, rows: Sequence[Row], partitions: int) -> None:
        self._store, self._rows, self._partitions = store, rows, partitions
        self._producer = Producer({**settings.kafka.client(), "enable.idempotence": True, "linger.ms": 0})
        self._number = 0
        self._places: list[Place] = []

    def wait(self) -> float:
        """Milliseconds until the next one was seen."""
        turn, at = divmod(self._number, len(self._rows))
        self._number += 1
        row = self._rows[at]
        before, event = self._count(row.user_id), orjson.loads(row.value)
        event |= {"eventId": str(uuid.uuid4()), "timestamp": rfc3339(min(row.time + 1000 * (turn + 1), system_clock()))}
        value, key = orjson.dumps(event), row.user_id.encode()
        began = time.perf_counter()
        self._producer.produce(SOURCE_TOPIC, value, key, partition_of(row.user_id, self._partitions), on_delivery=self._delivered)
        self._producer.poll(0)
        while self._count(row.user_id) <= before:
            if time.perf_counter() - began > _SEEN_WITHIN:
                message = f"freshness: Feast does not see an action of user {row.user_id} within {_SEEN_WITHIN:.0f} s"
                raise StreamhouseError(message)
        return (time.perf_counter() - began) * 1000

    def sent(self) -> Sent:
        """Those since the last call."""
        self._producer.flush(30)
        places, self._places = self._places, []
        return dict.fromkeys(places)

    def _count(self, user: str) -> int:
        name = "actions_7d"
        found = self._store.get_online_features(features=[f"{ACTIVITY}:{name}"], entity_rows=_entities([user])).to_dict()
        return int(found[name][0] or 0)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            text = f"{SOURCE_TOPIC} did not take an action: {error.str()}"
            raise StreamhouseError(text)
        self._places.append((message.partition() or 0, message.offset() or 0))


def _see_answers(side: Side, sent: Sent) -> None:
    got, deadline = Answers(), time.monotonic() + _SEEN_WITHIN
    while len(got.of) + len(got.refused) < len(sent) and time.monotonic() < deadline:
        time.sleep(0.2)
        side.take(got)
    if said := faults(side.name, sent, got):
        raise AnswersWrong("\n".join(said))
