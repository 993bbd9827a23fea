"""Percentiles are values that were seen, and what never came back is said."""

from __future__ import annotations

import pytest

from jobs.chaos.recovery import Blows, Recovery, Summary, percentile, summaries


@pytest.mark.parametrize(("share", "expected"), [(0.5, 10.0), (0.95, 19.0), (0.951, 20.0), (1.0, 20.0), (0.0, 1.0)])
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(share: float, expected: float) -> None:
    assert percentile([float(number) for number in range(1, 21)], share) == expected


def test_a_single_value_is_every_percentile() -> None:
    assert {percentile([3.5], share) for share in (0.0, 0.5, 0.95, 1.0)} == {3.5}


def test_a_line_for_each_kind() -> None:
    seen = [Recovery("kill_worker", 4.0), Recovery("kill_broker", 9.0), Recovery("kill_worker", 2.0), Recovery("kill_worker", 3.0)]
    assert summaries(seen) == [
        Summary("kill_broker", 1, 0, 9.0, 9.0, 9.0),
        Summary("kill_worker", 3, 0, 3.0, 4.0, 4.0),
    ]


def test_what_never_came_back_is_counted_and_no_number_hides_it() -> None:
    assert summaries([Recovery("zombie", None), Recovery("zombie", 20.0)]) == [Summary("zombie", 2, 1, 20.0, 20.0, 20.0)]
    assert summaries([Recovery("zombie", None)]) == [Summary("zombie", 1, 1, None, None, None)]
    assert summaries([]) == []


class Hand:
    """A clock that is set by hand, and predictions that come when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0
        self.when: float | None = None
        self.blows = Blows(self.expect, lambda _: self.when, lambda: self.now)

    def expect(self) -> None:
        self.when = None

    def strike(self, fault: str, at: float) -> list[float | None]:
        self.now, seconds = at, list[float | None]()
        self.blows.struck(fault, seconds)
        return seconds


def test_a_recovery_is_measured_from_the_blow() -> None:
    hand = Hand()
    seconds = hand.strike("kill_worker", 100)
    hand.when = 103.5
    assert hand.blows.recovered(1) == Recovery("kill_worker", 3.5)
    assert hand.blows.recovered(1) is None
    assert (seconds, hand.blows.recoveries) == ([3.5], [Recovery("kill_worker", 3.5)])


def test_a_blow_after_the_recovery_is_one_of_its_own_also_when_nobody_waited() -> None:
    hand = Hand()
    hand.strike("zombie", 100)
    hand.when = 112.0
    hand.strike("zombie", 120)
    hand.when = 125.0
    hand.blows.recovered(1)
    assert hand.blows.recoveries == [Recovery("zombie", 12.0), Recovery("zombie", 5.0)]


def test_a_blow_into_a_recovery_is_measured_on_from_the_first_under_both_names() -> None:
    hand = Hand()
    first, second = hand.strike("kill_worker", 100), hand.strike("kill_redis", 102)
    hand.strike("kill_redis", 103)
    hand.when = 110.0
    hand.blows.recovered(1)
    assert hand.blows.recoveries == [Recovery("kill_worker + kill_redis + kill_redis", 10.0)]
    assert (first, second) == ([10.0], [])


def test_the_blows_of_one_fault_are_measured_together_from_the_first() -> None:
    hand = Hand()
    seconds = hand.strike("kill_taskmanager_twice", 100)
    hand.blows.struck("kill_taskmanager_twice", seconds)
    hand.when = 115.0
    assert hand.blows.recovered(1) == Recovery("kill_taskmanager_twice", 15.0)


def test_what_never_comes_is_noted_as_such() -> None:
    hand = Hand()
    seconds = hand.strike("power_cut", 100)
    assert hand.blows.recovered(1) == Recovery("power_cut", None)
    assert seconds == [None]
