"""An exponent is what the numbers say, and its range is what any choice of them says."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from tests.benchmarks.bench.exponents import exponent


@pytest.mark.parametrize("power", [0.0, 0.05, 1.0, 1.7])
def test_a_power_is_found(power: float) -> None:
    found = exponent({size: [3.0 * size**power] for size in (10, 70, 1000)})
    assert found is not None
    assert (found.fitted, found.least, found.most) == pytest.approx((power,) * 3, abs=1e-9)


def test_the_range_is_that_of_every_choice_and_the_fit_is_numpys() -> None:
    rng = random.Random(1)
    costs: dict[float, list[float]] = {size: [float(size**0.3) * rng.uniform(0.8, 1.2) for _ in range(3)] for size in (1, 4, 16, 64)}
    sizes = sorted(costs)

    def slope(chosen: tuple[float, ...]) -> float:
        return float(np.polyfit(np.log(sizes), np.log(chosen), 1)[0])

    slopes = [slope(chosen) for chosen in itertools.product(*(costs[size] for size in sizes))]
    found = exponent(costs)
    assert found is not None
    assert (found.least, found.most) == pytest.approx((min(slopes), max(slopes)))
    assert found.fitted == pytest.approx(slope(tuple(sorted(costs[size])[1] for size in sizes)))


def test_one_size_says_nothing() -> None:
    assert exponent({5.0: [1.0, 2.0]}) is None
    assert exponent({}) is None
