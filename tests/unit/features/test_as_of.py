"""The as-of join against its definition, over drawn rows: corrections, ties, late rows, any parts in any order."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.as_of import Asked, Known, as_of, fresh, look, nothing
from tests.unit.features.known_then import Moment, Row, known_then

# few keys and moments, so that rows meet; far ones, so that nothing rests on small numbers
KEYS = st.integers(0, 3)
TIMES = st.one_of(st.integers(-3, 12), st.sampled_from([-(10**15), 1_700_000_000_000_000, 1_700_000_000_000_001, 4 * 10**15]))
ROWS = st.lists(st.tuples(KEYS, TIMES, TIMES, st.integers(0, 2)), max_size=40)
MOMENTS = st.lists(st.tuples(st.integers(-1, 4), TIMES), max_size=25)


def rows_of(drawn: Sequence[tuple[int, int, int, int]]) -> list[Row]:
    """Ties beyond the drawn one are decided by the row's place: equal rows would be one row."""
    return [Row(key, event_time, created, (tie, place), place) for place, (key, event_time, created, tie) in enumerate(drawn)]


def known_of(rows: Sequence[Row]) -> Known:
    def column(values: list[int]) -> np.ndarray:  # type: ignore[type-arg]
        return np.array(values, np.int64)

    return Known(
        column([int(str(row.key)) for row in rows]),
        column([row.event_time or 0 for row in rows]),
        column([row.created or 0 for row in rows]),
        (column([row.tie[0] for row in rows]), column([row.tie[1] for row in rows])),
        column([row.name for row in rows]),
    )


def asked_of(moments: Sequence[tuple[int, int]]) -> Asked:
    return Asked(np.array([k for k, _ in moments], np.int64), np.array([t for _, t in moments], np.int64))


def names(positions: np.ndarray) -> list[int | None]:  # type: ignore[type-arg]
    return [None if position < 0 else position for position in positions.tolist()]


@given(ROWS, MOMENTS, st.sampled_from([0, 1, 3, 10**15]), st.booleans())
def test_it_takes_what_the_definition_takes(
    drawn: list[tuple[int, int, int, int]], moments: list[tuple[int, int]], time_to_live: int, cutoff: bool
) -> None:
    rows, asked = rows_of(drawn), asked_of(moments)
    found = look(nothing(len(moments), 2), asked, known_of(rows), created_cutoff=cutoff)
    wanted = known_then(rows, [Moment(*moment) for moment in moments], time_to_live, created_cutoff=cutoff)
    assert names(fresh(found, asked, time_to_live)) == wanted


@given(
    st.lists(st.tuples(st.just(0), st.integers(0, 2), st.integers(0, 2), st.integers(0, 1)), min_size=3), st.randoms(use_true_random=False)
)
def test_parts_in_any_order_give_the_same(drawn: list[tuple[int, int, int, int]], random: Random) -> None:
    moments = [(key, time) for key in (0, 1) for time in range(4)]
    rows, asked = rows_of(drawn), asked_of(moments)
    whole = look(nothing(len(moments), 2), asked, known_of(rows))
    shuffled = list(rows)
    random.shuffle(shuffled)
    found = nothing(len(moments), 2)
    for start in range(0, len(shuffled), 2):
        found = look(found, asked, known_of(shuffled[start : start + 2]))
    assert names(found.position) == names(whole.position)


@given(ROWS, MOMENTS)
def test_nothing_of_the_future_is_taken(drawn: list[tuple[int, int, int, int]], moments: list[tuple[int, int]]) -> None:
    known, asked = known_of(rows_of(drawn)), asked_of(moments)
    row = as_of(asked, known)
    taken = row >= 0
    assert (known.event_time[row[taken]] <= asked.time[taken]).all()
    assert (known.created[row[taken]] <= asked.time[taken]).all()
    assert (known.key[row[taken]] == asked.key[taken]).all()


@pytest.mark.parametrize(
    ("rows", "time", "wanted"),
    [
        ([(10, 10), (10, 20)], 15, 0),  # a correction counts from when it was made
        ([(10, 10), (10, 20)], 20, 1),
        ([(10, 30), (5, 5)], 29, 1),  # a late row leaves the older one in place until it is known
        ([(10, 30), (5, 5)], 30, 0),
        ([(10, 10), (5, 12)], 12, 0),  # and an older event that comes late never takes its place
        ([(10, 10)], 9, None),
        ([(10, 10)], 13, 0),  # the last moment of its life, which is 3
        ([(10, 10)], 14, None),
    ],
)
def test_by_hand(rows: list[tuple[int, int]], time: int, wanted: int | None) -> None:
    asked = asked_of([(0, time)])
    known = known_of(rows_of([(0, event_time, created, 0) for event_time, created in rows]))
    life = 3 if len(rows) == 1 else 0
    assert names(fresh(look(nothing(1, 2), asked, known), asked, life)) == [wanted]
