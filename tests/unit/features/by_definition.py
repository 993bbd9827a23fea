"""The features counted one by one from their definition, without the fold: the oracle of its tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
WINDOWS = {"10m": (10, MINUTE), "1h": (12, 5 * MINUTE), "24h": (24, HOUR), "7d": (168, HOUR)}
KINDS = {"product_views": 1, "cart_adds": 2, "errors": 3, "purchases": 4}


@dataclass(frozen=True)
class Action:
    user: int
    offset: int
    time: int
    kind: int
    session: int


def features_at(earlier: Sequence[Action], time: int) -> dict[str, float | None]:
    """The features of one user at `time`, given his actions so far in log order."""
    clock = max((a.time for a in earlier), default=None)
    at = time if clock is None else max(time, clock - HOUR)
    values: dict[str, float | None] = {}
    for name, (buckets, grain) in WINDOWS.items():
        inside = [i for i, a in enumerate(earlier) if 0 <= at // grain - a.time // grain < buckets]
        values[f"actions_{name}"] = len(inside)
        for what, kind in KINDS.items():
            values[f"{what}_{name}"] = sum(earlier[i].kind == kind for i in inside)
        if name in ("24h", "7d"):
            values[f"visits_{name}"] = sum(i == 0 or earlier[i].session != earlier[i - 1].session for i in inside)
    bought = max((a.time for a in earlier if a.kind == 4), default=None)
    values["seconds_since_action"] = None if clock is None else max(0, time - clock) / 1000
    values["seconds_since_purchase"] = None if bought is None else max(0, time - bought) / 1000
    return values
