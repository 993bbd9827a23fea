"""Sets of offsets of one partition as sorted ranges, pure: small where offsets follow each other, as answered ones do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ranges = NDArray[np.int64]
"""(n, 2): `start <= offset < end`, ascending; neither touching nor overlapping."""

NONE: Ranges = np.zeros((0, 2), np.int64)


def joined(ranges: Ranges, more: Ranges) -> Ranges:
    """The union; `more` in any order, and with overlaps."""
    both = np.concatenate([ranges, more])
    if len(both) == 0:
        return NONE
    both = both[np.argsort(both[:, 0], kind="stable")]
    reach = np.maximum.accumulate(both[:, 1])
    first = np.flatnonzero(np.r_[True, both[1:, 0] > reach[:-1]])
    last = np.r_[first[1:] - 1, len(both) - 1]
    return np.column_stack([both[first, 0], reach[last]])


def of_offsets(offsets: NDArray[np.int64]) -> Ranges:
    """The ranges of single offsets, in any order, each as often as it likes."""
    return joined(NONE, np.column_stack([offsets, offsets + 1]))


def holds(ranges: Ranges, offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """For each offset whether a range holds it."""
    if len(ranges) == 0:
        return np.zeros(len(offsets), bool)
    at = np.searchsorted(ranges[:, 0], offsets, "right") - 1
    inside: NDArray[np.bool_] = (at >= 0) & (offsets < ranges[np.maximum(at, 0), 1])
    return inside


def without(ranges: Ranges, offsets: NDArray[np.int64]) -> Ranges:
    """What is left of the ranges without single offsets, in any order."""
    cuts = of_offsets(offsets)
    left: list[tuple[int, int]] = []
    for start, end in ranges.tolist():
        inside = cuts[(cuts[:, 1] > start) & (cuts[:, 0] < end)]
        for cut_start, cut_end in inside.tolist():
            if cut_start > start:
                left.append((start, cut_start))
            start = max(start, cut_end)
        if start < end:
            left.append((start, end))
    return np.array(left, np.int64).reshape(-1, 2)


def first_gap(ranges: Ranges, start: int) -> tuple[int, int | None]:
    """The first offsets from `start` on that no range holds: first of them, and the one after the last (None: without end)."""
    for low, high in ranges.tolist():
        if high <= start:
            continue
        if low > start:
            return start, low
        start = high
    return start, None
