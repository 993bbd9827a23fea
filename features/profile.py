"""When a profile row counts: missing, stale and known-then in one place, online, offline and in replay.

Feast itself ignores time-to-live online and calls a missing entity present, so the row's own timestamp decides here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.activity import DAY

TIME_TO_LIVE = 730 * DAY
"""A profile row older than this at the action's time is stale, in milliseconds."""


@dataclass(frozen=True)
class ProfileValues:
    """Profiles of n actions: text columns (n,), None where missing or stale; `known` (n,) ms, -1: none was used."""

    columns: Mapping[str, list[str | None]]
    known: NDArray[np.int64]
    missing: NDArray[np.bool_]
    stale: NDArray[np.bool_]


def profiles_at(
    known: NDArray[np.int64], columns: Mapping[str, list[str | None]], user: NDArray[np.int64], time: NDArray[np.int64]
) -> ProfileValues:
    """Each action's profile as known at its own event time; never a row that became known later, never the wall clock."""
    row_time = known[user]
    missing = (row_time < 0) | (row_time > time)
    stale = ~missing & (time - row_time > TIME_TO_LIVE)
    unusable = missing | stale
    # a row more, which has no values: it stands for what cannot be used
    row = np.where(unusable, len(known), user).tolist()
    values = {name: [texts[i] for i in row] for name, column in columns.items() for texts in [[*column, None]]}
    return ProfileValues(values, np.where(unusable, -1, row_time), missing, stale)
