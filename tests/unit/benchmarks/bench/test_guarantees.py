"""Both guarantees have the same turns of the same size, and what their ratio is made of stands beside it."""

from __future__ import annotations

from collections import Counter

import pytest

from infra.config import AT_LEAST_ONCE, EXACTLY_ONCE
from tests.benchmarks.bench.calm import Calibration
from tests.benchmarks.bench.guarantees import sections, turns
from tests.benchmarks.bench.legs import OURS, TRIES, Leg
from tests.benchmarks.bench.page import Report
from tests.benchmarks.bench.ratios import GUARANTEES, RATIOS, growth_of

CALM = Calibration(1.0, 1.0, 1.0)
BY_NAME = {ratio.name: ratio for ratio in RATIOS}


def test_each_guarantee_has_a_turn_in_each_round_and_begins_every_other() -> None:
    taken = list(turns(4))
    assert Counter(taken) == dict.fromkeys(((number, delivery) for number in range(1, 5) for delivery in (EXACTLY_ONCE, AT_LEAST_ONCE)), 1)
    assert [delivery for _, delivery in taken[::2]] == [EXACTLY_ONCE, AT_LEAST_ONCE] * 2


def test_no_drain_meets_users_of_another_and_all_names_are_equally_long() -> None:
    found = sections(5, 1000)
    starts = 1 + sum(one[1] != other[1] for one, other in zip(list(turns(5)), list(turns(5))[1:], strict=False))
    assert len({section.name for section in found}) == len(found) == starts + 1 + 2 * 5 * TRIES
    assert len({len(section.name) for section in found}) == 1


def test_the_price_is_median_over_median_and_tells_the_rest() -> None:
    def legs(delivery: str, *rates: float) -> list[Leg]:
        return [
            Leg(GUARANTEES, delivery, i, CALM, {"per_second": rate, "committed_per_second": rate / 2}) for i, rate in enumerate(rates, 1)
        ]

    both = legs(EXACTLY_ONCE, 900, 1000, 5000) + legs(AT_LEAST_ONCE, 1000, 2000)
    value = BY_NAME["R5"].of(both)
    assert value is not None
    assert value.number == pytest.approx(1000 / 1500)
    assert value.runs == 2
    for told in ("900 to 5,000 in 3", "1,000 to 2,000 in 2", "500 until committed", "750 until committed"):
        assert told in value.made_of
    assert BY_NAME["R5"].of(legs(EXACTLY_ONCE, 1)) is None


def grown(at: int, *each: float, calibration: Calibration = CALM) -> Leg:
    return Leg(growth_of("users"), OURS, at, calibration, {"at": at, "point": at, "points": [10, 100, 1000], "each": list(each)})


def test_growth_is_the_exponent_through_the_medians_of_every_point_that_was_meant() -> None:
    legs = [grown(10, 50, 51, 90), grown(100, 51, 51, 51), grown(1000, 51, 40, 60)]
    value = BY_NAME["R8 users"].of(legs)
    assert value is not None
    assert value.number == pytest.approx(0, abs=1e-9)
    assert BY_NAME["R8 users"].is_met(value)
    assert value.runs == 3
    assert "10: 51, 100: 51, 1,000: 51; exponent from " in value.made_of
    assert BY_NAME["R8 users"].of(legs[:2]) is None


def test_growth_of_which_a_point_was_disturbed_decides_nothing() -> None:
    legs = [grown(10, 50), grown(100, 50), grown(1000, 90, calibration=Calibration(1.0, 2.0, 1.0))]
    found = {ratio.name: value for ratio, value in Report("", {}, {}, legs, legs[:2], 1.0).results()}
    value = found["R8 users"]
    assert value is not None
    assert value.disturbed
