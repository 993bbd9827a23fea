"""A rate is that of a side that has started."""

from __future__ import annotations

import pytest

from tests.benchmarks.drain import steady_rate


def test_the_first_quarter_of_the_answers_does_not_count() -> None:
    slow_start = [1000 * i for i in range(25)]
    assert steady_rate(slow_start + [24_000 + 10 * i for i in range(1, 76)]) == pytest.approx(100, rel=0.02)


def test_a_batch_has_one_time_and_counts_whole_or_not() -> None:
    assert steady_rate([0] * 50 + [500] * 30 + [1000] * 20) == pytest.approx(50)


@pytest.mark.parametrize("times", [[], [7], [7, 7, 7]])
def test_what_came_at_once_has_no_rate(times: list[int]) -> None:
    assert steady_rate(times) is None
