"""Which part of a history is replayed: by event time, by offsets, or all of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from infra.contracts.codec import event_milliseconds, rfc3339
from infra.errors import StreamhouseError

_EVER = 2**62
Span = tuple[int, int]
"""`first <= offset < end`."""


@dataclass(frozen=True)
class Chosen:
    """Actions with `from_ms <= event time < to_ms`; where `offsets` names partitions, of those alone, and within its offsets."""

    from_ms: int = -_EVER
    to_ms: int = _EVER
    offsets: Mapping[int, Span] = field(default_factory=dict)

    @property
    def begins(self) -> bool:
        """Whether a person said from when on."""
        return self.from_ms > -_EVER

    @property
    def by_time(self) -> bool:
        """Whether times choose at all."""
        return self.from_ms > -_EVER or self.to_ms < _EVER

    @property
    def files_with(self) -> str | None:
        """The times as a filter of tables, by which whole files are left out."""
        parts = []
        if self.from_ms > -_EVER:
            parts.append(f"event_time >= '{rfc3339(self.from_ms).replace('Z', '+00:00')}'")
        if self.to_ms < _EVER:
            parts.append(f"event_time < '{rfc3339(self.to_ms).replace('Z', '+00:00')}'")
        return " and ".join(parts) or None

    def holds(self, event_ms: NDArray[np.int64]) -> NDArray[np.bool_]:
        """For each event time whether it is chosen."""
        return (event_ms >= self.from_ms) & (event_ms < self.to_ms)

    def spans(self, ends: Mapping[int, Span]) -> dict[int, Span]:
        """The offsets to read of each partition, of those that there are.

        Raises:
            StreamhouseError: a partition or offsets that are not there.

        """
        if not self.offsets:
            return dict(ends)
        spans = {}
        for partition, (first, end) in self.offsets.items():
            there = ends.get(partition)
            if there is None or first >= there[1] or end <= there[0]:
                known = ", ".join(f"{p}:{a}-{b - 1}" for p, (a, b) in sorted(ends.items())) or "none"
                message = f"offsets {partition}:{first}-{end - 1}: the history holds {known}; choose among these"
                raise StreamhouseError(message)
            spans[partition] = max(first, there[0]), min(end, there[1])
        return spans


def chosen(from_time: str | None, to_time: str | None, offsets: Sequence[str]) -> Chosen:
    """What the command line names: RFC 3339 times or dates (UTC where they say no zone), and `PARTITION:FIRST-LAST`.

    Raises:
        StreamhouseError: another form.

    """
    spans: dict[int, Span] = {}
    for text in offsets:
        match = re.fullmatch(r"(\d{1,9}):(\d{1,18})-(\d{1,18})", text)
        if not match or int(match[2]) > int(match[3]) or int(match[1]) in spans:
            message = f"offsets {text!r}: expected PARTITION:FIRST-LAST, as in 0:100-199, each partition once; correct it"
            raise StreamhouseError(message)
        spans[int(match[1])] = int(match[2]), int(match[3]) + 1
    first = -_EVER if from_time is None else milliseconds("from", from_time)
    end = _EVER if to_time is None else milliseconds("to", to_time)
    if first >= end:
        message = f"from {from_time} to {to_time}: the end must come after the beginning; exchange them"
        raise StreamhouseError(message)
    return Chosen(first, end, spans)


def milliseconds(which: str, text: str) -> int:
    """The moment that the option `--which` names, ms since 1970 UTC.

    Raises:
        StreamhouseError: another form.

    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"--{which} {text!r}: expected a date or a time, as in 2024-03-01 or 2024-03-01T12:00:00Z; correct it"
        raise StreamhouseError(message) from error
    return event_milliseconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
