"""What was known at a moment: the as-of join of entity rows with feature rows. Pure, and in bounded memory.

A feature row answers for a moment T when its event time and its `created` both are at or before T. Of those, the one with the greatest
(event time, created, tie) is taken, and none where its event time is more than the time to live before T.

One search does it. A row is valid from v = max(event time, created) on, so with the rows of a key in the order of v, what was best
at T is the running maximum of the priority (event time, created, tie) at the last v that is not after T. Ranks of the priority that are
sorted by key first rise from key to key, so one running maximum over all rows is the running maximum within each key.

The time to live is looked at afterwards: the row taken has the greatest event time of all that were known, so where it is stale each is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

_NONE = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Asked:
    """m entity rows: `key` (m,) codes, below 0: matches nothing; `time` (m,) microseconds since 1970 UTC."""

    key: Integers
    time: Integers


@dataclass(frozen=True)
class Known:
    """n feature rows: `key` (n,) codes from 0; times (n,) microseconds since 1970 UTC; `tie` (n,) each, what decides equal times, the
    most important first; `position` (n,) names the row. Rows equal in all but position must be equal rows.
    """

    key: Integers
    event_time: Integers
    created: Integers
    tie: tuple[Integers, ...]
    position: Integers

    @property
    def priority(self) -> tuple[Integers, ...]:
        """What makes one row of a key count before another, the most important first."""
        return (self.event_time, self.created, *self.tie)


@dataclass(frozen=True)
class Found:
    """The best row yet for each of m entity rows: `position` (m,), -1: none; `priority` (m,) each, as in Known."""

    position: Integers
    priority: tuple[Integers, ...]


def nothing(rows: int, ties: int) -> Found:
    """Before any feature row was looked at; `ties`: how many columns Known.tie will have."""
    return Found(np.full(rows, -1, np.int64), tuple(np.full(rows, _NONE) for _ in range(2 + ties)))


def look(found: Found, asked: Asked, known: Known, *, created_cutoff: bool = True) -> Found:
    """Take more feature rows into account. In whatever parts and order they come, the end is the same.

    Without `created_cutoff` a row counts from its event time on, whenever it became known.
    """
    row = as_of(asked, known, created_cutoff=created_cutoff)
    priority = tuple(np.where(row < 0, _NONE, column[row]) for column in known.priority) if len(known.key) else found.priority
    better = np.zeros(len(row), bool)
    equal = row >= 0
    for new, old in zip(priority, found.priority, strict=True):
        better |= equal & (new > old)
        equal &= new == old
    if not better.any():
        return found
    return Found(
        np.where(better, known.position[row], found.position),
        tuple(np.where(better, new, old) for new, old in zip(priority, found.priority, strict=True)),
    )


def as_of(asked: Asked, known: Known, *, created_cutoff: bool = True) -> Integers:
    """The row of `known` (m,) that answers for each entity row whatever its age; -1: none."""
    if not len(known.key) or not len(asked.key):
        return np.full(len(asked.key), -1, np.int64)
    valid_from = np.maximum(known.event_time, known.created) if created_cutoff else known.event_time
    best_first = np.lexsort((*reversed(known.priority), known.key))
    rank = np.empty(len(best_first), np.int64)
    rank[best_first] = np.arange(len(best_first))

    # key and time in one number: distinct times are counted, so it always fits
    moments = np.unique(valid_from)
    width = len(moments) + 1
    place = known.key * width + np.searchsorted(moments, valid_from) + 1
    wanted = asked.key * width + np.searchsorted(moments, asked.time, side="right")

    in_order = np.argsort(place, kind="stable")
    best = best_first[np.maximum.accumulate(rank[in_order])]
    last = np.searchsorted(place[in_order], wanted, side="right") - 1
    row = best[np.maximum(last, 0)]
    return np.where((last >= 0) & (known.key[row] == asked.key), row, -1)


def fresh(found: Found, asked: Asked, time_to_live: int) -> Integers:
    """The positions found (m,), -1 where there is none or where it is older than `time_to_live` microseconds; 0: no row is too old."""
    if time_to_live <= 0:
        return found.position
    taken = found.position >= 0
    age = np.where(taken, asked.time - np.where(taken, found.priority[0], 0), 0)
    return np.where(age > time_to_live, -1, found.position)
