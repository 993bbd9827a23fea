"""How a cost grows: the exponent b of cost = a * size ** b, fitted where both are logarithms. 0: not at all; 1: in proportion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Exponent:
    """`fitted` through the medians; `least` and `most`: what any choice of one measurement of each size allows."""

    fitted: float
    least: float
    most: float


def exponent(costs: Mapping[float, Sequence[float]]) -> Exponent | None:
    """Of measurements by size, each size measured any number of times; None where fewer than two sizes were."""
    if len(costs) < 2:
        return None
    x = np.log(sorted(costs))
    of = [np.log(costs[size]) for size in sorted(costs)]
    away = x - x.mean()
    weights = away / (away @ away)  # the slope is the sum of the costs' logarithms with these weights
    low, high = np.array([one.min() for one in of]), np.array([one.max() for one in of])
    return Exponent(
        float(weights @ [np.median(one) for one in of]),
        float(weights @ np.where(weights > 0, low, high)),
        float(weights @ np.where(weights > 0, high, low)),
    )
