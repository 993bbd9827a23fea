"""Time as an argument."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Milliseconds since 1970 UTC; whoever needs the time is given one of these."""

    def __call__(self) -> int: ...


def system_clock() -> int:
    """The machine's own time, in milliseconds."""
    return time.time_ns() // 1_000_000
