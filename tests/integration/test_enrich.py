"""The enrich step against a real Redis: crashes, repetitions, lost data, rival runs; the log is the truth that it is held to."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from features import feast_bytes as fb
from features.activity import FEATURES
from features.enrich import Batch, Enricher, RedisAway
from features.history import LAYOUT
from features.online import LeaseLost, OnlineStore
from tests.unit.features.by_definition import Action, features_at
from tests.unit.features.test_fold import as_arrays, random_log


def batch_of(actions: list[Action]) -> Batch:
    arrays = as_arrays(actions)
    users = [f"u{a.user}" for a in actions]
    return Batch(users, np.zeros(len(actions), np.int64), arrays.offset, arrays.time, arrays.kind, arrays.session)


def expected(log: list[Action], action: Action) -> list[float]:
    values = features_at([a for a in log if a.user == action.user and a.offset < action.offset], action.time)
    return [np.nan if values[name] is None else float(values[name] or 0) for name in FEATURES]


def a_worker(port: int, log: list[Action], committed: Callable[[], int], sleep: Callable[[float], None] = lambda _: None) -> Enricher:
    def read(partition: int, first: int, end: int) -> Iterator[Batch]:
        found = [a for a in log if first <= a.offset < end]
        for i in range(0, len(found), 7):
            yield batch_of(found[i : i + 7])

    return Enricher(OnlineStore("127.0.0.1", port, timeout=1.0), read, lambda _: committed(), sleep, wait_seconds=1.0)


def ask(worker: Enricher, log: list[Action], begin: int, end: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    part = log[begin:end]
    return worker(batch_of(part), {0: part[0].offset}, {0: part[-1].offset}).rows.values


@given(seed=st.integers(0, 2**32))
def test_any_crash_any_loss_and_any_rewind_leaves_every_answer_as_by_definition(redis_port: int, seed: int) -> None:
    rng = random.Random(seed)
    client = redis.Redis(port=redis_port)
    client.flushall()
    log = random_log(rng, 80)
    committed = [0]
    worker, position, restored = a_worker(redis_port, log, lambda: committed[0]), 0, 0
    while position < len(log):
        end = min(len(log), position + rng.randint(1, 25))
        got = ask(worker, log, position, end)
        np.testing.assert_array_equal(got, [expected(log, a) for a in log[position:end]])
        position = end
        event = rng.random()
        if event < 0.4:  # a checkpoint completed
            restored = position
            committed[0] = log[position].offset if position < len(log) else log[-1].offset + 1
        elif event < 0.6:  # the worker died; another goes on from the last checkpoint
            worker, position = a_worker(redis_port, log, lambda: committed[0]), restored
        elif event < 0.7:  # Redis came back empty under the running worker
            client.flushall()
        elif event < 0.8:  # and under a new one
            client.flushall()
            worker, position = a_worker(redis_port, log, lambda: committed[0]), restored
        elif event < 0.85:  # an operator goes back to an old savepoint
            position = rng.randint(0, restored)
            worker = a_worker(redis_port, log, lambda: committed[0])
    client.close()


def test_an_older_run_that_wakes_up_late_writes_nothing(empty_redis: int) -> None:
    log = random_log(random.Random(3), 40)
    old, new = (a_worker(empty_redis, log, lambda: 0) for _ in range(2))
    ask(old, log, 0, 10)
    np.testing.assert_array_equal(ask(new, log, 0, 20), [expected(log, a) for a in log[:20]])
    with pytest.raises(LeaseLost, match="belongs to another run"):
        ask(old, log, 10, 30)
    np.testing.assert_array_equal(ask(new, log, 20, 40), [expected(log, a) for a in log[20:]])


def test_a_partition_without_new_actions_is_filled_again_too(empty_redis: int) -> None:
    log = random_log(random.Random(5), 30)

    def read(partition: int, first: int, end: int) -> Iterator[Batch]:
        if some := [a for a in log if first <= a.offset < end]:
            yield in_partition(partition, some)

    def in_partition(partition: int, actions: list[Action]) -> Batch:
        batch = batch_of(actions)
        return replace(batch, users=[f"{user}-{partition}" for user in batch.users], partition=np.full(len(actions), partition, np.int64))

    worker = Enricher(OnlineStore("127.0.0.1", empty_redis), read, lambda _: 0, lambda _: None, wait_seconds=1.0)
    for partition in (0, 1):
        worker(in_partition(partition, log), {partition: log[0].offset}, {partition: log[-1].offset})
    client: Any = redis.Redis(port=empty_redis)
    before = {key: client.hgetall(key) for key in client.keys("*-1*")}
    client.flushall()
    late = Action(0, log[-1].offset + 1, log[-1].time, 0, 0)
    worker(in_partition(0, [late]), {0: late.offset}, {0: late.offset})
    assert before
    assert {key: client.hgetall(key) for key in client.keys("*-1*")} == before
    client.close()


def test_histories_of_another_layout_are_folded_again_from_the_log(empty_redis: int) -> None:
    log = random_log(random.Random(7), 40)
    ask(a_worker(empty_redis, log, lambda: 0), log, 0, 30)
    client: Any = redis.Redis(port=empty_redis)
    field = fb.field("user_activity", "history")
    for key in client.keys("*user_id*"):
        blob = fb.read_bytes(client.hget(key, field)) or b""
        client.hset(key, field, fb.bytes_value((LAYOUT + 1).to_bytes(4, "little") + blob[4:]))
    client.close()
    got = ask(a_worker(empty_redis, log, lambda: 0), log, 20, 40)
    np.testing.assert_array_equal(got, [expected(log, a) for a in log[20:]])


def test_redis_away_is_waited_for_and_then_named() -> None:
    naps: list[float] = []
    log = random_log(random.Random(1), 3)
    worker = a_worker(1, log, lambda: 0, naps.append)
    with pytest.raises(RedisAway, match="redis did not answer"):
        ask(worker, log, 0, 3)
    assert sum(naps) >= 1.0
