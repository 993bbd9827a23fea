"""How long it took from a blow to the next committed prediction, by kind of blow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Recovery:
    """One blow: `seconds` until the first prediction, seen by a read_committed consumer, of an action that the broker took after it.

    None: none came as long as was waited.
    """

    fault: str
    seconds: float | None


@dataclass
class _Blow:
    fault: str
    seconds: list[float | None]
    at: float
    latest: list[float | None]  # of the strike that the latest blow belongs to


class Blows:
    """Measures one recovery at a time. A blow that falls before the job has recovered from the last is measured on with that one,
    under the names of both faults, so that no kind's numbers hold another's: a second kill of a kind is not that kind's either.

    `expect` is told to look out for the next prediction, `came` answers when it came within so many seconds, by `clock`.
    """

    def __init__(self, expect: Callable[[], None], came: Callable[[float], float | None], clock: Callable[[], float]) -> None:
        self.recoveries: list[Recovery] = []
        self._expect, self._came, self._clock = expect, came, clock
        self._last: _Blow | None = None

    def struck(self, fault: str, seconds: list[float | None]) -> None:
        """A blow of `fault` fell now; what the recovery takes is added to `seconds`."""
        if self._last is not None:
            if self._came(0) is None:
                if seconds is not self._last.latest:
                    self._last.fault, self._last.latest = f"{self._last.fault} + {fault}", seconds
                return
            self.recovered(0)
        self._last = _Blow(fault, seconds, self._clock(), seconds)
        self._expect()

    def recovered(self, timeout: float) -> Recovery | None:
        """Wait for the recovery from the last blow; None: it is noted already, or there was none."""
        if self._last is None:
            return None
        last, self._last = self._last, None
        when = self._came(timeout)
        took = None if when is None else when - last.at
        last.seconds.append(took)
        self.recoveries.append(Recovery(last.fault, took))
        return self.recoveries[-1]


@dataclass(frozen=True)
class Summary:
    """All blows of a kind, in seconds; `lost`: how many it never came back from."""

    fault: str
    count: int
    lost: int
    p50: float | None
    p95: float | None
    max: float | None


def summaries(recoveries: Iterable[Recovery]) -> list[Summary]:
    """One line per kind, by name."""
    of: dict[str, list[float | None]] = {}
    for recovery in recoveries:
        of.setdefault(recovery.fault, []).append(recovery.seconds)
    return [_summary(fault, seconds) for fault, seconds in sorted(of.items())]


def _summary(fault: str, seconds: Sequence[float | None]) -> Summary:
    known = sorted(value for value in seconds if value is not None)
    p50, p95, most = (percentile(known, share) if known else None for share in (0.5, 0.95, 1.0))
    return Summary(fault, len(seconds), len(seconds) - len(known), p50, p95, most)


def percentile(ascending: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed (nearest rank), so always one that was seen."""
    return ascending[max(1, math.ceil(share * len(ascending))) - 1]
