"""What was known at a moment, row by row from its definition: the oracle of the as-of join."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """A feature row; `name` tells it from the others, `tie` decides equal times."""

    key: Any  # hashable
    event_time: int | None
    created: int | None
    tie: tuple[int, ...]
    name: int


@dataclass(frozen=True)
class Moment:
    """An entity row."""

    key: Any  # hashable
    time: int | None


def known_then(rows: Sequence[Row], moments: Sequence[Moment], time_to_live: int = 0, *, created_cutoff: bool = True) -> list[int | None]:
    """The name of the row that answers for each moment; None: none does."""
    of: dict[Hashable, list[tuple[int, int, tuple[int, ...], int]]] = defaultdict(list)
    for row in rows:
        if row.key is not None and row.event_time is not None:
            created = row.event_time if row.created is None else row.created
            of[row.key].append((row.event_time, created, row.tie, row.name))
    found: list[int | None] = []
    for moment in moments:
        candidates = []
        if moment.key is not None and moment.time is not None:
            for event_time, created, tie, name in of.get(moment.key, ()):
                too_old = time_to_live and moment.time - event_time > time_to_live
                if event_time <= moment.time and not too_old and (created <= moment.time or not created_cutoff):
                    candidates.append((event_time, created, tie, name))
        found.append(max(candidates)[3] if candidates else None)
    return found
