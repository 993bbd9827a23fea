"""The fold against the definition, under any split into batches, crashes, repetitions and compactions."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.activity import FEATURES
from features.fold import Actions, RewoundError, compact, current, fold
from features.history import NEVER, Histories, OtherLayoutError, pack, unpack
from tests.unit.features.by_definition import DAY, HOUR, MINUTE, Action, features_at

USERS = 3
START = 1_700_000_000_000


def as_arrays(batch: list[Action]) -> Actions:
    def column(name: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.array([getattr(a, name) for a in batch], np.int64)

    return Actions(column("user"), column("offset"), column("time"), column("kind"), column("session").astype(np.uint64))


def no_histories() -> Histories:
    return unpack([None] * USERS, np.zeros(USERS, np.int64))


def through_the_store(histories: Histories) -> Histories:
    rows = np.arange(USERS)
    return unpack(list(pack(histories, rows)), np.zeros(USERS, np.int64))


def expected(log: list[Action], action: Action) -> list[float]:
    earlier = [a for a in log if a.user == action.user and a.offset < action.offset]
    values = features_at(earlier, action.time)
    return [np.nan if values[name] is None else float(values[name] or 0) for name in FEATURES]


def random_log(rng: random.Random, size: int) -> list[Action]:
    """Hot and cold users, bursts and long gaps, ties, slightly and hopelessly late actions."""
    log, clock, offset = [], START, 0
    for _ in range(size):
        clock += rng.choice([0, 0, 1, 999, 20_000, MINUTE, 7 * MINUTE, HOUR, 5 * HOUR, DAY, 8 * DAY])
        behind = rng.choice([0] * 6 + [1, 30_000, 11 * MINUTE, HOUR - 1, HOUR, HOUR + 1, 2 * HOUR, DAY, 9 * DAY])
        offset += rng.choice([1, 1, 1, 2, 5])  # transactions leave gaps in the offsets
        log.append(Action(rng.choice([0, 0, 0, 1, 2]), offset, clock - behind, rng.randrange(5), rng.randrange(3)))
    return log


@given(seed=st.integers(0, 2**32), size=st.integers(1, 60))
def test_features_equal_their_definition_whatever_the_batches_the_crashes_and_the_compactions(seed: int, size: int) -> None:
    rng = random.Random(seed)
    log = random_log(rng, size)
    histories, position, committed, answered = no_histories(), 0, 0, 0
    while position < len(log):
        batch = log[position : position + rng.randint(1, 12)]
        rows, grown = fold(histories, as_arrays(batch))
        for i, action in enumerate(batch):
            np.testing.assert_array_equal(rows.values[i], expected(log, action))
            earlier = [a for a in log if a.user == action.user and a.offset < action.offset]
            assert rows.known_offset[i] == (earlier[-1].offset if earlier else -1)
            assert rows.known_time[i] == max((a.time for a in earlier), default=NEVER)
            assert rows.late[i] == (bool(earlier) and action.time < max(a.time for a in earlier))
        answered += len(batch)
        if rng.random() < 0.8:  # else: crashed before the store was written
            histories = through_the_store(grown)
            position += len(batch)
        if rng.random() < 0.4:  # a checkpoint completed somewhere up to here, and the store compacts below it
            committed = max(committed, rng.randint(committed, position))
            below = log[committed].offset if committed < len(log) else log[-1].offset + 1
            histories = compact(histories, np.full(USERS, below, np.int64))
        if rng.random() < 0.3:  # crashed after the store was written: read again from the last checkpoint
            position = rng.randint(committed, position)
    assert answered >= len(log)


@given(seed=st.integers(0, 2**32))
def test_what_stands_readable_is_as_of_just_after_the_last_action_at_its_time(seed: int) -> None:
    log = random_log(random.Random(seed), 40)
    _, histories = fold(no_histories(), as_arrays(log))
    histories = compact(histories, np.full(USERS, log[20].offset, np.int64))
    for user in {a.user for a in log}:
        mine = [a for a in log if a.user == user]
        values = features_at(mine, mine[-1].time)
        got = current(histories, np.array([user])).values[0]
        np.testing.assert_array_equal(got, [np.nan if values[f] is None else float(values[f] or 0) for f in FEATURES])


@given(seed=st.integers(0, 2**32))
def test_the_rows_timestamp_rises_with_each_action_and_does_not_depend_on_the_batches(seed: int) -> None:
    rng = random.Random(seed)
    log = random_log(rng, 30)
    _, at_once = fold(no_histories(), as_arrays(log))
    histories, previous = no_histories(), np.full(USERS, NEVER)
    for action in log:
        _, histories = fold(histories, as_arrays([action]))
        assert histories.headers["row_time"][action.user] > previous[action.user]
        previous = histories.headers["row_time"].copy()
    np.testing.assert_array_equal(at_once.headers, histories.headers)


def test_an_action_from_below_the_base_is_noticed_and_not_answered() -> None:
    log = [Action(0, o, START + o, 0, 0) for o in range(5)]
    _, histories = fold(no_histories(), as_arrays(log))
    histories = compact(histories, np.full(USERS, 3, np.int64))
    rows, _ = fold(histories, as_arrays(log[3:]))
    assert rows.values.shape == (2, len(FEATURES))
    with pytest.raises(RewoundError, match="offset 2 was merged already"):
        fold(histories, as_arrays(log[2:]))


def test_a_busy_users_history_stays_small_once_its_actions_are_committed() -> None:
    log = [Action(0, o, START + o * 5000, o // 10 % 5, o // 500) for o in range(0, 200_000, 10)]  # 278 hours, one action in 50 s
    histories = no_histories()
    for start in range(0, len(log), 500):
        _, histories = fold(histories, as_arrays(log[start : start + 500]))
        histories = compact(histories, np.full(USERS, (start + 500) * 10, np.int64))
    blob = pack(histories, np.array([0]))[0]
    assert len(blob) < 60_000


def test_pairs_are_compared_in_bounded_pieces_with_the_same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    log = random_log(random.Random(7), 300)
    whole, _ = fold(no_histories(), as_arrays(log))
    monkeypatch.setattr("features.fold._PAIRS", 500)
    pieces, _ = fold(no_histories(), as_arrays(log))
    np.testing.assert_array_equal(whole.values, pieces.values)


def test_a_history_of_another_layout_is_refused() -> None:
    _, histories = fold(no_histories(), as_arrays([Action(0, 1, START, 0, 0)]))
    blob = bytearray(pack(histories, np.array([0]))[0])
    blob[0] = 99
    with pytest.raises(OtherLayoutError, match="layout 99, this program reads 1"):
        unpack([bytes(blob)], np.zeros(1, np.int64))
