"""Which of a user's earlier actions the features of one action were counted from. Pure; the fold counts, this names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.activity import ALLOWED_LATENESS, PURCHASE, WINDOWS

Int64s = NDArray[np.int64]


@dataclass(frozen=True)
class Counted:
    """One window as it lay for an action: from `first_ms` up to but not including `end_ms`, and which earlier actions are in it."""

    first_ms: int
    end_ms: int
    actions: tuple[int, ...]


@dataclass(frozen=True)
class Contributions:
    """Places among a user's k earlier actions in log order; None: there is no such action.

    `windows` by name. `previous`: the one before in the log, which made the activity row known. `latest`: the first with the latest event
    time, from which `seconds_since_action` counts; `purchase`: likewise of the purchases.
    """

    windows: Mapping[str, Counted]
    previous: int | None
    latest: int | None
    purchase: int | None


def contributions(earlier: Int64s, kind: Int64s, time: int) -> Contributions:
    """Of an action at `time` ms: `earlier` (k,) ms and `kind` (k,) of the user's actions before it, in log order."""
    evaluated = max(time, int(earlier.max()) - ALLOWED_LATENESS) if len(earlier) else time
    windows = {}
    for window in WINDOWS:
        now, bucket = evaluated // window.grain, earlier // window.grain
        inside = np.flatnonzero((bucket <= now) & (bucket > now - window.buckets))
        end = (now + 1) * window.grain
        windows[window.name] = Counted(end - window.length, end, tuple(inside.tolist()))
    bought = np.flatnonzero(kind == PURCHASE)
    return Contributions(
        windows,
        len(earlier) - 1 if len(earlier) else None,
        int(earlier.argmax()) if len(earlier) else None,
        int(bought[earlier[bought].argmax()]) if len(bought) else None,
    )
