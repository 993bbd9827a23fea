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
from features.enrich import Batch, Enriched, Enricher, Log, RedisAway
from features.history import ENTRY, LAYOUT
from features.online import LeaseLost, Mark, OnlineStore, StoreEmpty, StoreFull
from features.online_keys import ACTIVITY, JOIN_KEY, MATERIALIZED, PROFILE, PROJECT, row_key
from infra.errors import StreamhouseError
from jobs.folded_archive import offline_enricher
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
    return Enricher(OnlineStore("127.0.0.1", port, timeout=1.0), a_log(log), lambda _: committed(), sleep, wait_seconds=1.0)


def a_log(log: list[Action]) -> Log:
    def read(partition: int, first: int, end: int) -> Iterator[Batch]:
        found = [a for a in log if first <= a.offset < end]
        for i in range(0, len(found), 7):
            yield batch_of(found[i : i + 7])

    return read


def ask(worker: Enricher, log: list[Action], begin: int, end: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    part = log[begin:end]
    return worker(batch_of(part), {0: part[0].offset}, {0: part[-1].offset}).rows.values


@given(seed=st.integers(0, 2**32))
def test_any_crash_any_loss_and_any_rewind_leaves_every_answer_as_by_definition(redis_port: int, seed: int) -> None:
    rng = random.Random(seed)
    client: Any = redis.Redis(port=redis_port)
    client.flushall()
    older: dict[bytes, bytes] = {}
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
        elif event < 0.88:  # it came back with what it held some time ago
            client.flushall()
            for key, content in older.items():
                client.restore(key, 0, content)
        elif event < 0.92:
            older = {key: client.dump(key) for key in client.keys("*")}
        elif event < 0.95:  # another program wrote over a row or a mark
            client.set(rng.choice(sorted(client.keys("*"))), "not a row")
        elif event < 0.98:  # an operator goes back to an old savepoint
            position = rng.randint(0, restored)
            worker = a_worker(redis_port, log, lambda: committed[0])
    client.close()


@pytest.mark.parametrize("over", [fb.entity_key(PROJECT, JOIN_KEY, "u0"), f"{PROJECT}:{ACTIVITY}:partition:0".encode()])
@pytest.mark.parametrize("foreign", ["text", "list"])
def test_what_another_program_wrote_over_a_row_or_a_mark_is_folded_again(empty_redis: int, over: bytes, foreign: str) -> None:
    log = random_log(random.Random(4), 40)
    worker = a_worker(empty_redis, log, lambda: 0)
    ask(worker, log, 0, 20)
    client: Any = redis.Redis(port=empty_redis)
    client.set(MATERIALIZED, "then")
    elsewhere = fb.entity_key(PROJECT, JOIN_KEY, "of another partition")
    client.set(elsewhere, "not a row")
    assert client.delete(over)
    client.set(over, "not a row") if foreign == "text" else client.rpush(over, "not a row")
    np.testing.assert_array_equal(ask(worker, log, 20, 40), [expected(log, a) for a in log[20:]])
    assert client.type(over) == b"hash"
    assert not client.exists(MATERIALIZED, elsewhere)  # a row holds a profile, too, and Feast's writer reads all of them
    client.close()


def test_marks_that_go_while_merged_histories_are_met_again_are_no_failure(empty_redis: int, monkeypatch: pytest.MonkeyPatch) -> None:
    log = random_log(random.Random(6), 200)
    worker, mark = a_worker(empty_redis, log, lambda: log[150].offset), f"{PROJECT}:{ACTIVITY}:partition:0"
    for begin in (0, 100):  # the second time what the first wrote is merged
        ask(worker, log, begin, begin + 100)
    client: Any = redis.Redis(port=empty_redis)
    store = OnlineStore("127.0.0.1", empty_redis, timeout=1.0)
    forget, went = store.forget, list[int]()

    def forget_as_another_worker_clears(partition: int) -> int:
        went.append(partition)
        if len(went) == 1:
            client.delete(mark)
        return forget(partition)

    monkeypatch.setattr(store, "forget", forget_as_another_worker_clears)
    client.delete(mark)
    anew = Enricher(store, a_log(log), lambda _: 0, lambda _: None, wait_seconds=1.0)
    np.testing.assert_array_equal(ask(anew, log, 0, 200), [expected(log, a) for a in log])
    assert len(went) == 2
    client.close()


def test_an_older_run_that_wakes_up_late_writes_nothing(empty_redis: int) -> None:
    log = random_log(random.Random(3), 40)
    old, new = (a_worker(empty_redis, log, lambda: 0) for _ in range(2))
    ask(old, log, 0, 10)
    np.testing.assert_array_equal(ask(new, log, 0, 20), [expected(log, a) for a in log[:20]])
    with pytest.raises(LeaseLost, match="belongs to another run"):
        ask(old, log, 10, 30)
    np.testing.assert_array_equal(ask(new, log, 20, 40), [expected(log, a) for a in log[20:]])


def in_partition(partition: int, actions: list[Action]) -> Batch:
    """The same actions as ever, of users of that partition."""
    batch = batch_of(actions)
    return replace(batch, users=[f"{user}-{partition}" for user in batch.users], partition=np.full(len(actions), partition, np.int64))


def test_a_partition_without_new_actions_is_filled_again_too(empty_redis: int) -> None:
    log = random_log(random.Random(5), 30)

    def read(partition: int, first: int, end: int) -> Iterator[Batch]:
        if some := [a for a in log if first <= a.offset < end]:
            yield in_partition(partition, some)

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


@given(seed=st.integers(0, 2**32))
def test_what_is_lost_again_while_two_partitions_are_filled_again_is_not_left_out(redis_port: int, seed: int) -> None:
    """Small batches touch one partition alone, and the other one must be brought back all the way, however often it is begun."""
    rng = random.Random(seed)
    client: Any = redis.Redis(port=redis_port)
    client.flushall()
    logs = [random_log(rng, 60) for _ in range(2)]
    troubles = 0

    def happens() -> None:
        kind = rng.random()
        if kind < 0.3:
            client.flushall()
        elif kind < 0.7 and (keys := sorted(client.keys("*"))):  # another worker, or another program, over some
            client.delete(*rng.sample(keys, rng.randint(1, len(keys))), *client.keys("*:partition:*"))
        elif rows := sorted(client.keys("*u[0-9]*")):
            client.set(rng.choice(rows), "not a row")

    def read(partition: int, first: int, end: int) -> Iterator[Batch]:
        nonlocal troubles
        found = [a for a in logs[partition] if first <= a.offset < end]
        for i in range(0, len(found), 7):
            yield in_partition(partition, found[i : i + 7])
            if troubles and rng.random() < 0.5:
                troubles -= 1
                happens()

    positions = [0, 0]

    def committed(partition: int) -> int:
        at = positions[partition]
        return logs[partition][at].offset if at < len(logs[partition]) else 0

    worker = Enricher(OnlineStore("127.0.0.1", redis_port, timeout=1.0), read, committed, lambda _: None, wait_seconds=1.0)
    while positions != [60, 60]:
        partition = rng.choice([p for p in (0, 1) if positions[p] < 60])
        log, begin = logs[partition], positions[partition]
        part = log[begin : begin + rng.randint(1, 25)]
        got = worker(in_partition(partition, part), {partition: part[0].offset}, {partition: part[-1].offset}).rows.values
        np.testing.assert_array_equal(got, [expected(log, a) for a in part])
        positions[partition] += len(part)
        if rng.random() < 0.3:
            troubles = rng.randint(0, 3)
            happens()
    client.close()


@pytest.mark.parametrize("filled", [0, 1], ids=["the batch's", "another"])
def test_a_redis_that_is_full_for_a_moment_while_a_partition_is_filled_again(empty_redis: int, filled: int) -> None:
    log, full = random_log(random.Random(3), 40), list[bool]()
    client: Any = redis.Redis(port=empty_redis)

    def read(partition: int, first: int, end: int) -> Iterator[Batch]:
        found = [a for a in log if first <= a.offset < end]
        for i in range(0, len(found), 7):
            yield in_partition(partition, found[i : i + 7])
            if partition == filled and not full:
                full.append(client.config_set("maxmemory", 1))

    def emptier(seconds: float) -> None:
        client.config_set("maxmemory", 0)

    worker = Enricher(OnlineStore("127.0.0.1", empty_redis), read, lambda _: 0, emptier, wait_seconds=1.0)

    def answer(partition: int, begin: int, end: int) -> None:
        part = log[begin:end]
        got = worker(in_partition(partition, part), {partition: part[0].offset}, {partition: part[-1].offset}).rows.values
        np.testing.assert_array_equal(got, [expected(log, a) for a in part])

    try:
        answer(0, 0, 30)
        answer(1, 0, 30)
        client.flushall()
        answer(0, 30, 40)
        answer(1, 30, 40)
    finally:
        client.config_set("maxmemory", 0)
        client.close()
    assert full


def test_a_rebuild_whose_store_loses_data_ends_instead_of_going_on_with_nothing(empty_redis: int) -> None:
    log = random_log(random.Random(3), 40)
    rebuild = offline_enricher(OnlineStore("127.0.0.1", empty_redis))
    rebuild.start_over(0)
    ask(rebuild, log, 0, 20)
    with redis.Redis(port=empty_redis) as client:
        client.flushall()
    with pytest.raises(StreamhouseError, match="the store lost partition 0 while the log was folded into it, up to offset"):
        ask(rebuild, log, 20, 40)


def test_a_redis_that_comes_back_with_less_between_two_parts_of_a_write(empty_redis: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("features.online._ROWS_PER_WRITE", 1)
    log, writes = random_log(random.Random(3), 60), list[object]()
    client: Any = redis.Redis(port=empty_redis)
    store = OnlineStore("127.0.0.1", empty_redis)
    worker = Enricher(store, a_log(log), lambda _: 0, lambda _: None, wait_seconds=1.0)
    ask(worker, log, 0, 20)
    older = {key: client.dump(key) for key in client.keys("*")}
    write = store._write

    def written_and_lost(**arguments: Any) -> object:
        writes.append(write(**arguments))
        if len(writes) == 1:
            client.flushall()
            for key, content in older.items():
                client.restore(key, 0, content)
        return writes[-1]

    monkeypatch.setattr(store, "_write", written_and_lost)
    np.testing.assert_array_equal(ask(worker, log, 20, 40), [expected(log, a) for a in log[20:40]])
    np.testing.assert_array_equal(ask(worker, log, 40, 60), [expected(log, a) for a in log[40:60]])
    assert len(writes) > 2
    client.close()


def test_what_another_worker_brought_back_is_not_deleted_by_one_that_looked_before(
    empty_redis: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two meet foreign rows at once: one has cleared them and is bringing profiles back when the other one, which looked, deletes."""
    log = random_log(random.Random(3), 40)
    client: Any = redis.Redis(port=empty_redis)
    user, foreign = row_key("u0-0"), row_key("u0-1")

    def read(partition: int, first: int, end: int) -> Iterator[Batch]:
        if some := [a for a in log if first <= a.offset < end]:
            yield in_partition(partition, some)

    def restore() -> None:
        if not client.exists(MATERIALIZED):
            client.hset(user, fb.timestamp_field(PROFILE), fb.timestamp(1000))
            if late:
                late.pop()()
            client.set(MATERIALIZED, "now")

    late = list[Callable[[], object]]()
    stores = [OnlineStore("127.0.0.1", empty_redis) for _ in range(2)]
    workers = [Enricher(store, read, lambda _: 0, lambda _: None, 1.0, restore) for store in stores]

    def answer(partition: int, begin: int, end: int) -> Enriched:
        part = log[begin:end]
        return workers[partition](in_partition(partition, part), {partition: part[0].offset}, {partition: part[-1].offset})

    for partition in (0, 1):
        answer(partition, 0, 20)
    for key in (user, foreign):
        client.delete(key)
        client.set(key, "not a row")
    evaluated = stores[0]._redis.eval

    def evaluated_late(*arguments: Any) -> object:
        late.append(lambda: evaluated(*arguments))
        monkeypatch.undo()
        answer(1, 20, 30)
        return 0

    monkeypatch.setattr(stores[0]._redis, "eval", evaluated_late)
    got = answer(0, 20, 40)
    np.testing.assert_array_equal(got.rows.values, [expected(log, a) for a in log[20:40]])
    np.testing.assert_array_equal(answer(1, 30, 40).rows.values, [expected(log, a) for a in log[30:40]])
    assert not late
    users = list(dict.fromkeys(f"u{a.user}-0" for a in log[20:40]))
    assert got.profiles.known[users.index("u0-0")] == 1000
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


@pytest.mark.parametrize("whose", ["told", "not told", "told wrongly"])
@pytest.mark.parametrize("damage", ["cut off", "cut off behind an entry", "one byte", "empty", "gone"])
def test_a_damaged_history_is_folded_again_from_the_log(empty_redis: int, damage: str, whose: str) -> None:
    log = random_log(random.Random(7), 40)
    worker = a_worker(empty_redis, log, lambda: 0)
    ask(worker, log, 0, 30)
    client: Any = redis.Redis(port=empty_redis)
    row, name = row_key("u0"), fb.field(ACTIVITY, "history")
    held = client.hget(row, name)
    if damage == "gone":
        client.hdel(row, name)
    else:
        cut = {"cut off": held[:-7], "cut off behind an entry": held[: -ENTRY.itemsize], "one byte": b"x", "empty": b""}
        client.hset(row, name, cut[damage])
    if whose == "not told":
        client.hdel(row, f"_log:{ACTIVITY}")
        if damage in ("empty", "gone"):
            client.hset(row, name, b"x")  # or it would be the row of a user whom nobody has seen
    if whose == "told wrongly":
        client.hset(row, f"_log:{ACTIVITY}", "7:1")
    np.testing.assert_array_equal(ask(worker, log, 30, 40), [expected(log, a) for a in log[30:]])
    client.close()


def test_a_redis_that_lost_its_last_writes_is_noticed(empty_redis: int) -> None:
    log = random_log(random.Random(3), 60)
    worker = a_worker(empty_redis, log, lambda: 0)
    client: Any = redis.Redis(port=empty_redis)
    ask(worker, log, 0, 20)
    older = {key: client.dump(key) for key in client.keys("*")}
    ask(worker, log, 20, 40)
    client.flushall()
    for key, content in older.items():
        client.restore(key, 0, content)
    client.close()
    np.testing.assert_array_equal(ask(worker, log, 40, 60), [expected(log, a) for a in log[40:60]])


def test_a_write_into_a_redis_that_lost_its_last_writes_is_refused(empty_redis: int) -> None:
    log = random_log(random.Random(3), 40)
    store = OnlineStore("127.0.0.1", empty_redis)
    worker = Enricher(store, a_log(log), lambda _: 0, lambda _: None, wait_seconds=1.0)
    ask(worker, log, 0, 40)
    histories, _ = store.read(["u0"], np.zeros(1, np.int64))
    client: Any = redis.Redis(port=empty_redis)
    client.hincrby("streamhouse:user_activity:partition:0", "writes", -1)
    client.close()
    with pytest.raises(StoreEmpty, match="came back with less of partition 0"):
        store.write(["u0"], histories, np.zeros(1, np.int64), {0: Mark(log[-1].offset + 1, 0)})


def test_a_forget_that_is_cut_off_leaves_nothing_half_known(empty_redis: int, monkeypatch: pytest.MonkeyPatch) -> None:
    log = random_log(random.Random(3), 60)
    ask(a_worker(empty_redis, log, lambda: 0), log, 0, 40)
    monkeypatch.setattr("features.online._ROWS_PER_WRITE", 1)
    store = OnlineStore("127.0.0.1", empty_redis)
    store.open()
    store.acquire(0)
    forgets, times = store._forget, [0]

    def dies_early(**arguments: Any) -> Any:
        times[0] += 1
        if times[0] > 2:
            raise KeyboardInterrupt
        return forgets(**arguments)

    monkeypatch.setattr(store, "_forget", dies_early)
    with pytest.raises(KeyboardInterrupt):
        store.forget(0)
    np.testing.assert_array_equal(ask(a_worker(empty_redis, log, lambda: 0), log, 40, 60), [expected(log, a) for a in log[40:60]])


def test_a_run_that_takes_over_while_another_forgets_is_left_alone(empty_redis: int, monkeypatch: pytest.MonkeyPatch) -> None:
    log = random_log(random.Random(3), 60)
    ask(a_worker(empty_redis, log, lambda: 0), log, 0, 40)
    monkeypatch.setattr("features.online._ROWS_PER_WRITE", 1)
    store, new = OnlineStore("127.0.0.1", empty_redis), a_worker(empty_redis, log, lambda: 0)
    store.open()
    store.acquire(0)
    forgets, times = store._forget, [0]

    def taken_over(**arguments: Any) -> Any:
        times[0] += 1
        if times[0] == 3:
            np.testing.assert_array_equal(ask(new, log, 40, 50), [expected(log, a) for a in log[40:50]])
        return forgets(**arguments)

    monkeypatch.setattr(store, "_forget", taken_over)
    with pytest.raises(LeaseLost):
        store.forget(0)
    np.testing.assert_array_equal(ask(new, log, 50, 60), [expected(log, a) for a in log[50:60]])


def test_a_full_redis_is_known_by_what_later_versions_say(empty_redis: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of Redis 7 on the client takes the word OOM off."""
    log, store = random_log(random.Random(9), 20), OnlineStore("127.0.0.1", empty_redis)
    full = redis.exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'. script: a, on @user_script:2.")

    def refuse(**_: object) -> None:
        raise full

    monkeypatch.setattr(store, "_write", refuse)
    with pytest.raises(StoreFull, match=r"redis holds as much as redis\.max_memory allows"):
        ask(Enricher(store, a_log(log), lambda _: 0, lambda _: None, wait_seconds=0.1), log, 0, 20)


def test_a_part_of_a_forgetting_that_comes_late_forgets_nothing(empty_redis: int) -> None:
    """As over a connection that was given up meanwhile: its run has folded the rows again, and goes on."""
    log, store = random_log(random.Random(3), 40), OnlineStore("127.0.0.1", empty_redis)
    worker = Enricher(store, a_log(log), lambda _: 0, lambda _: None, wait_seconds=1.0)
    ask(worker, log, 0, 20)
    late = dict(store._writes)
    ask(worker, log, 20, 30)
    store._writes = late
    with pytest.raises(StoreEmpty):
        store._forget_of(0, [row_key("u0")])
    np.testing.assert_array_equal(ask(worker, log, 30, 40), [expected(log, a) for a in log[30:]])


def test_a_full_redis_is_waited_for_and_then_named(empty_redis: int) -> None:
    log = random_log(random.Random(3), 40)
    worker = a_worker(empty_redis, log, lambda: 0)
    ask(worker, log, 0, 20)
    client: Any = redis.Redis(port=empty_redis)
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreFull, match="redis holds as much as"):
            ask(worker, log, 20, 40)
    finally:
        client.config_set("maxmemory", 0)
        client.close()
    np.testing.assert_array_equal(ask(worker, log, 20, 40), [expected(log, a) for a in log[20:40]])


def test_redis_away_is_waited_for_and_then_named() -> None:
    naps: list[float] = []
    log = random_log(random.Random(1), 3)
    worker = a_worker(1, log, lambda: 0, naps.append)
    with pytest.raises(RedisAway, match="redis did not answer"):
        ask(worker, log, 0, 3)
    assert sum(naps) >= 1.0
