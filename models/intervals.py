"""95 % intervals for numbers from rows of which one user's hang together: whole users are drawn again, from a seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from models.compared import Estimate

Floats = NDArray[np.float64]
Statistics = Mapping[str, Floats]
"""Numbers by name, each an array; NaN: not defined."""

Z = 1.959964
DIGITS = 6
_DEFINED = 0.9  # of the resamples; where fewer give a number, its spread would be that of a chosen part


def resampled(users: int, resamples: int, seed: int) -> Iterator[Floats]:
    """For each resample how often each user was drawn, (users,)."""
    random = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(random.integers(0, users, users), minlength=users).astype(np.float64)


class Spread:
    """Statistics of the rows as they are, and how much they spread over the resamples."""

    def __init__(self, of: Callable[[Floats], Statistics], users: int) -> None:
        self._of = of
        self.value = of(np.ones(users))
        self._again: list[Statistics] = []

    def add(self, weight: Floats) -> None:
        """Take one more resample, `weight` (users,)."""
        self._again.append(self._of(weight))

    def error(self, *names: str) -> Floats:
        """Standard errors of a statistic, or of the first less the second; NaN where too few resamples define it."""
        value = self._signed(self.value, names)
        if len(self._again) < 2:
            return np.full(value.shape, np.nan)
        again = np.stack([self._signed(one, names) for one in self._again])
        known = np.isfinite(again)
        count = known.sum(0)
        mean = np.where(known, again, 0).sum(0) / np.maximum(count, 1)
        spread = np.sqrt(np.where(known, (again - mean) ** 2, 0).sum(0) / np.maximum(count - 1, 1))
        error: Floats = np.where(count >= max(2, _DEFINED * len(self._again)), spread, np.nan)
        return error

    def estimates(self, *names: str, lowest: float = -np.inf, highest: float = np.inf, trusted: bool = True) -> list[Estimate]:
        """Each value with 1.96 standard errors to both sides, within the bounds; not `trusted`: values alone."""
        value = self._signed(self.value, names)
        reach = Z * self.error(*names) if trusted else np.full(value.shape, np.nan)
        low, high = (value - reach).clip(lowest, highest), (value + reach).clip(lowest, highest)
        return [Estimate(number(v), number(a), number(b)) for v, a, b in zip(value, low, high, strict=True)]

    def rates(self, name: str, rows: NDArray[np.int64], users: NDArray[np.int64]) -> list[Estimate]:
        """Shares of `rows` with Wilson's interval, for as many independent rows as the spread over users amounts to."""
        value, error = self.value[name], self.error(name)
        return [_rate(v, e, n, u) for v, e, n, u in zip(value.tolist(), error.tolist(), rows.tolist(), users.tolist(), strict=True)]

    @staticmethod
    def _signed(of: Statistics, names: tuple[str, ...]) -> Floats:
        return of[names[0]] if len(names) == 1 else of[names[0]] - of[names[1]]


def number(value: float) -> float | None:
    """Rounded to what two machines agree on; None for what is no number."""
    return round(float(value), DIGITS) + 0.0 if np.isfinite(value) else None


def _rate(share: float, error: float, rows: int, users: int) -> Estimate:
    if not np.isfinite(share):
        return Estimate()
    if not np.isfinite(error):
        return Estimate(number(share))
    # no spread at all is seen where all rows have one answer: then a user counts as one row
    independent = min(rows, share * (1 - share) / error**2) if error > 0 and 0 < share < 1 else users
    square = Z**2 / independent
    middle = (share + square / 2) / (1 + square)
    reach = Z * np.sqrt(share * (1 - share) / independent + square / (4 * independent)) / (1 + square)
    return Estimate(number(share), number(max(0.0, middle - reach)), number(min(1.0, middle + reach)))
