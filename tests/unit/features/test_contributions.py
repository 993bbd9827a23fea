"""The actions that are named are those that the fold counted, in any order of times."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from features.activity import COUNTED, FEATURES, VISIT_WINDOWS
from features.contributions import contributions
from features.fold import Actions, fold
from features.history import unpack
from tests.unit.features.by_definition import DAY, HOUR, MINUTE

START = 1_700_000_000_000
COLUMN = {name: i for i, name in enumerate(FEATURES)}


@given(seed=st.integers(0, 2**32), size=st.integers(1, 60))
def test_each_feature_is_counted_from_the_actions_that_are_named(seed: int, size: int) -> None:
    rng = random.Random(seed)
    clock, times = START, []
    for _ in range(size):
        clock += rng.choice([0, 0, 1, 999, 20_000, MINUTE, 7 * MINUTE, HOUR, 5 * HOUR, DAY, 8 * DAY])
        times.append(clock - rng.choice([0] * 6 + [1, 30_000, 11 * MINUTE, HOUR - 1, HOUR, HOUR + 1, 2 * HOUR, DAY, 9 * DAY]))
    time, offset = np.array(times, np.int64), np.arange(size) * 3
    kind = np.array([rng.randrange(5) for _ in range(size)], np.int64)
    session = np.array([rng.randrange(3) for _ in range(size)], np.uint64)
    nobody = unpack([None], np.zeros(1, np.int64))
    rows, _ = fold(nobody, Actions(np.zeros(size, np.int64), offset, time, kind, session))
    opens = np.r_[True, session[1:] != session[:-1]]
    for i in range(size):
        named = contributions(time[:i], kind[:i], int(time[i]))
        for name, counted in named.windows.items():
            inside = list(counted.actions)
            for what, kinds in COUNTED.items():
                assert rows.values[i, COLUMN[f"{what}_{name}"]] == np.isin(kind[inside], kinds).sum()
            if name in VISIT_WINDOWS:
                assert rows.values[i, COLUMN[f"visits_{name}"]] == opens[inside].sum()
            assert all(counted.first_ms <= time[j] < counted.end_ms for j in inside)
        assert rows.known_offset[i] == (-1 if named.previous is None else offset[named.previous])
        for since, at in (("seconds_since_action", named.latest), ("seconds_since_purchase", named.purchase)):
            value = rows.values[i, COLUMN[since]]
            assert np.isnan(value) if at is None else value == max(0, time[i] - time[at]) / 1000


def test_an_action_without_a_past_was_counted_from_nothing() -> None:
    named = contributions(np.zeros(0, np.int64), np.zeros(0, np.int64), START)
    assert (named.previous, named.latest, named.purchase) == (None, None, None)
    assert all(counted.actions == () for counted in named.windows.values())
