"""A message where it lies: what was read from a topic or from its archive table."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.patterns.message import Envelope


@dataclass(frozen=True)
class Recorded:
    """A message and its place. `kafka_ms`: when the broker appended it."""

    envelope: Envelope
    topic: str
    partition: int
    offset: int
    kafka_ms: int
