from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from jobs.audit.gaps import Held, Holes, Told, concatenated, runs_of

COMMITTED, ABORTED, NEITHER = "committed", "aborted", "neither"


def at(kinds: list[str], kind: str, low: int = 0) -> NDArray[np.int64]:
    return np.array([offset for offset, one in enumerate(kinds) if one == kind and offset >= low], np.int64)


def held(kinds: list[str], low: int = 0) -> Held:
    """A topic of which retention has left what lies from `low` on; its committed records come one at a time."""
    holes = Holes(low)
    for offset in at(kinds, COMMITTED, low).tolist():
        holes.add(np.array([offset]))
    holes.close(len(kinds))
    return Held(low, len(kinds), holes.runs, runs_of(at(kinds, ABORTED, low)))


def counted(kinds: list[str], low: int, offsets: set[int]) -> Told:
    """The definition: one offset at a time."""
    known = [kinds[offset] for offset in offsets if low <= offset < len(kinds)]
    return Told(known.count(COMMITTED), known.count(ABORTED), known.count(NEITHER), sum(offset < low for offset in offsets))


TOPICS = st.lists(st.sampled_from([COMMITTED, COMMITTED, ABORTED, NEITHER]), max_size=14)


@pytest.mark.parametrize(
    ("offsets", "end", "runs"), [([2, 3, 6], 9, [[0, 2], [4, 6], [7, 9]]), ([0, 1], 2, []), ([], 3, [[0, 3]]), ([], 0, [])]
)
def test_holes_are_runs_without_a_record(offsets: list[int], end: int, runs: list[list[int]]) -> None:
    holes = Holes(0)
    told = [*(holes.add(np.array([offset])) for offset in offsets), holes.close(end)]
    assert holes.runs.tolist() == concatenated(told).tolist() == runs


@pytest.mark.parametrize(("offsets", "runs"), [([], []), ([0], [[0, 1]]), ([0, 1, 4, 6, 7, 8], [[0, 2], [4, 5], [6, 9]])])
def test_runs_are_of_consecutive_offsets(offsets: list[int], runs: list[list[int]]) -> None:
    assert runs_of(np.array(offsets, np.int64)).tolist() == runs


@given(TOPICS, st.integers(0, 16), st.integers(0, 16), st.integers(0, 16))
def test_each_offset_of_a_range_is_told_from_the_others(kinds: list[str], low: int, first: int, last: int) -> None:
    topic, offsets = held(kinds, low := min(low, len(kinds))), set(range(first, last + 1))
    assert topic.told(first, last) == counted(kinds, low, offsets)
    if committed := sorted(offsets & set(at(kinds, COMMITTED, low).tolist())):
        assert topic.first_committed(first, last) == committed[0]


@given(TOPICS, st.integers(0, 16), st.sets(st.integers(0, 16)))
def test_offsets_without_a_row_are_told_by_what_the_topic_holds(kinds: list[str], low: int, rows: set[int]) -> None:
    low, end = min(low, len(kinds)), max(rows, default=-1) + 1
    committed = set(at(kinds, COMMITTED, low).tolist())
    dropped = len({offset for offset in committed if offset < end} - rows)
    aliens = np.array(sorted(offset for offset in rows - committed if offset >= low), np.int64)
    told = held(kinds, low).without_row(end, dropped, aliens, sum(offset < low for offset in rows))
    assert told == counted(kinds, low, set(range(end)) - rows)
