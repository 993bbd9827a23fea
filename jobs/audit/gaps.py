"""Offsets of a topic without a committed record, pure: where aborted ones lie, and what is said of the offsets that no row holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Runs = NDArray[np.int64]
"""(k, 2): the first offset of each run and the one after its last, in rising order."""


def runs_of(offsets: NDArray[np.int64]) -> Runs:
    """Rising offsets as runs of consecutive ones."""
    begins = np.flatnonzero(np.diff(offsets, prepend=-2) != 1)
    ends = np.append(begins[1:], len(offsets))[: len(begins)]
    return np.stack([offsets[begins], offsets[ends - 1] + 1], axis=1)


def concatenated(parts: list[Runs]) -> Runs:
    """Runs that follow each other as one array."""
    return np.concatenate([np.zeros((0, 2), np.int64), *parts])


def overlap(runs: Runs, first: int, last: int) -> int:
    """How many of the offsets `first` to `last` lie in runs."""
    begin, end = np.searchsorted(runs[:, 1], first, side="right"), np.searchsorted(runs[:, 0], last, side="right")
    some = runs[begin:end]
    return int((np.minimum(some[:, 1], last + 1) - np.maximum(some[:, 0], first)).sum())


def inside(runs: Runs, offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which offsets lie in runs."""
    return np.searchsorted(runs[:, 0], offsets, side="right") > np.searchsorted(runs[:, 1], offsets, side="right")


class Holes:
    """Runs of offsets without a committed record: control records, aborted ones, what was compacted away."""

    def __init__(self, start: int) -> None:
        self._next = start
        self._found: list[Runs] = []

    def add(self, offsets: NDArray[np.int64]) -> Runs:
        """The next records' offsets; answers the runs before and between them."""
        before = np.concatenate([[self._next - 1], offsets[:-1]])
        gap = offsets - before > 1
        self._next = int(offsets[-1]) + 1
        return self._keep(np.stack([before[gap] + 1, offsets[gap]], axis=1))

    def close(self, end: int) -> Runs:
        """Where the topic ends; answers the run before that, if there is one."""
        return self._keep(np.array([[self._next, end]] if self._next < end else [], np.int64).reshape(-1, 2))

    @property
    def runs(self) -> Runs:
        """All of them so far."""
        return concatenated(self._found)

    def _keep(self, runs: Runs) -> Runs:
        self._found.append(runs)
        return runs


@dataclass(frozen=True)
class Told:
    """How many offsets of a range hold a committed record, an aborted one, or neither: a control record, or one compacted away.

    `not_retained`: those before the topic's first offset, of which it tells nothing any more.
    """

    committed: int = 0
    aborted: int = 0
    neither: int = 0
    not_retained: int = 0

    def __add__(self, other: Told) -> Told:
        return Told(
            self.committed + other.committed,
            self.aborted + other.aborted,
            self.neither + other.neither,
            self.not_retained + other.not_retained,
        )

    def __str__(self) -> str:
        return f"{self.committed} committed records, {self.aborted} aborted ones and {self.neither} offsets with neither"


@dataclass(frozen=True)
class Held:
    """What the topic says of one partition, `low <= offset < end`: runs without a committed record, and in these the aborted records."""

    low: int
    end: int
    holes: Runs
    aborted: Runs

    def told(self, first: int, last: int) -> Told:
        """What the topic holds at the offsets `first` to `last`; those from its end on count for nothing."""
        begin, end = max(first, self.low), min(last + 1, self.end)
        not_retained = max(0, min(last + 1, self.low) - first)
        if begin >= end:
            return Told(not_retained=not_retained)
        empty, aborted = overlap(self.holes, begin, end - 1), overlap(self.aborted, begin, end - 1)
        return Told(end - begin - empty, aborted, empty - aborted, not_retained)

    def first_committed(self, first: int, last: int) -> int:
        """The first of the offsets `first` to `last` that holds a committed record; there is one."""
        offset = max(first, self.low)
        for begin, end in self.holes[np.searchsorted(self.holes[:, 1], offset, side="right") :].tolist():
            if begin > offset:
                break
            offset = max(offset, end)
        return min(offset, last)

    def without_row(self, table_end: int, dropped: int, aliens: NDArray[np.int64], rows_before: int) -> Told:
        """What the topic holds at the offsets below `table_end` at which the table has no row.

        `dropped`: committed records there that have none. `aliens`: offsets of rows without a committed record, each once.
        `rows_before`: how many offsets before the topic's first have a row.
        """
        every = self.told(0, table_end - 1)
        aliens = aliens[(aliens >= self.low) & (aliens < self.end)]
        on_aborted = int(inside(self.aborted, aliens).sum())
        return Told(
            dropped, every.aborted - on_aborted, every.neither - (len(aliens) - on_aborted), max(0, every.not_retained - rows_before)
        )
