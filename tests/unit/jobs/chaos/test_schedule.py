"""The seed alone decides which fault comes when."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from jobs.chaos.faults import FAULTS
from jobs.chaos.points import EVERY
from jobs.chaos.schedule import Draw, schedule

WEIGHTS = {name: fault.weight for name, fault in FAULTS.items()}
POINTS = {name: fault.points for name, fault in FAULTS.items()}


def drawn(seed: int, count: int) -> list[Draw]:
    return list(islice(schedule(seed, WEIGHTS, POINTS), count))


def test_the_same_seed_gives_the_same_faults_and_another_gives_others() -> None:
    assert drawn(7, 200) == drawn(7, 200)
    assert drawn(7, 50) == drawn(7, 200)[:50]
    assert drawn(7, 50) != drawn(8, 50)


def test_the_order_in_which_faults_are_declared_does_not_matter() -> None:
    backwards = dict(reversed(list(WEIGHTS.items())))
    assert list(islice(schedule(7, backwards, POINTS), 100)) == drawn(7, 100)


def test_every_fault_comes_and_each_as_often_as_its_weight_says() -> None:
    count = 20_000
    found = Counter(draw.fault for draw in drawn(1, count))
    for name, weight in WEIGHTS.items():
        assert found[name] / count == pytest.approx(weight / sum(WEIGHTS.values()), rel=0.3), name


def test_a_fault_strikes_at_the_points_that_suit_it() -> None:
    found: dict[str, set[str]] = {}
    for draw in drawn(1, 5000):
        found.setdefault(draw.fault, set()).add(draw.point)
    assert found == {name: {"at_random", *POINTS[name]} for name in FAULTS}
    assert set(POINTS["kill_taskmanager"]) == set(EVERY)


def test_no_two_faults_share_their_choices() -> None:
    seeds = [draw.seed for draw in drawn(3, 1000)]
    assert len(set(seeds)) == len(seeds)
