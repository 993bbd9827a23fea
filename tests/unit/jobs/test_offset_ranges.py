"""Sets of offsets as ranges, against plain sets."""

from __future__ import annotations

import random

import numpy as np
import pytest

from jobs.offset_ranges import NONE, Ranges, first_gap, holds, joined, of_offsets, without


def ranges(*pairs: tuple[int, int]) -> Ranges:
    return np.array(pairs, np.int64).reshape(-1, 2)


def plain(these: Ranges) -> set[int]:
    return {offset for start, end in these.tolist() for offset in range(start, end)}


@pytest.mark.parametrize("seed", range(200))
def test_random_offsets_in_any_order_are_the_set_of_them(seed: int) -> None:
    generator = random.Random(seed)
    wanted: set[int] = set()
    held = NONE
    for _ in range(generator.randint(1, 6)):
        some = [generator.randint(0, 60) for _ in range(generator.randint(0, 25))]
        wanted |= set(some)
        held = joined(held, of_offsets(np.array(some, np.int64)))
        assert plain(held) == wanted
        assert all(end < start for (_, end), (start, _) in zip(held.tolist(), held.tolist()[1:], strict=False))  # as few as can be
    everywhere = np.arange(-1, 70)
    assert set(everywhere[holds(held, everywhere)].tolist()) == wanted
    gone = [generator.randint(0, 60) for _ in range(generator.randint(0, 9))]
    assert plain(without(held, np.array(gone, np.int64))) == wanted - set(gone)
    first, end = first_gap(held, 0)
    assert first == next(offset for offset in range(100) if offset not in wanted)
    assert end == min((offset for offset in wanted if offset > first), default=None)


def test_a_gap_is_looked_for_from_an_offset_on() -> None:
    held = ranges((0, 10), (20, 30))
    assert first_gap(held, 0) == (10, 20)
    assert first_gap(held, 15) == (15, 20)
    assert first_gap(held, 20) == (30, None)
    assert first_gap(held, 99) == (99, None)
    assert first_gap(NONE, 3) == (3, None)
