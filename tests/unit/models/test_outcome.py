"""Labels against their definition, word by word."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.outcome import HORIZON, outcomes

MINUTE = 60_000
ACTIONS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 90), st.booleans(), st.integers(0, 40)), max_size=40)


@given(ACTIONS, st.integers(0, 140))
def test_labels_are_what_the_definition_says(actions: list[tuple[int, int, bool, int]], by: int) -> None:
    user = np.array([u for u, *_ in actions], np.int64)
    time = np.array([t * MINUTE for _, t, *_ in actions], np.int64)
    buys = np.array([b for _, _, b, _ in actions], bool)
    created = np.array([(t + late) * MINUTE for _, t, _, late in actions], np.int64)
    label, told = outcomes(user, time, buys, created, by * MINUTE)
    for i, (u, t, _, late) in enumerate(actions):
        counting = sorted((s, s + d) for v, s, b, d in actions if v == u and b and t < s <= t + HORIZON // MINUTE and s + d <= by)
        assert label[i] == bool(counting)
        known = counting[0][1] if counting else t + HORIZON // MINUTE
        assert told[i] == max(known, t + late) * MINUTE
