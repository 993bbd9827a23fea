"""What runs, as values: what was seen of each part of the system, and which parts did not answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class SeenVersion:
    """A version of an event type among the latest records of a topic. `last_ms`: when the latest of them was written, since 1970."""

    event_type: str
    version: int
    last_ms: int


@dataclass(frozen=True)
class SeenTopic:
    """A topic on the broker. `records`: those that it holds; `at_most`: they were not counted, and it holds so many at most.

    Then they are the offsets between its beginning and end, of which the broker's own marks between transactions take some, as do records
    that were aborted or compacted.

    `written`: how many offsets it ever had; `last_ms`: when the latest record was written, since 1970; None: it holds none.
    """

    name: str
    partitions: int
    records: int
    written: int
    last_ms: int | None = None
    versions: tuple[SeenVersion, ...] = ()
    at_most: bool = False


@dataclass(frozen=True)
class SeenGroup:
    """A consumer group. `lags`: by topic that it has read, the records that wait; `gone`: topics that it read and that are no more.

    `at_most`: topics of which they were not counted, and so many wait at most, as `SeenTopic` says it.
    """

    name: str
    state: str
    members: int
    lags: Mapping[str, int] = field(default_factory=dict)
    gone: tuple[str, ...] = ()
    at_most: tuple[str, ...] = ()


@dataclass(frozen=True)
class SeenJob:
    """A job of Flink that lives. `checkpoint_age`: seconds since the latest checkpoint; `trouble`: what keeps it from its work."""

    name: str
    state: str
    running_for: float
    restarts: int = 0
    checkpoint_age: float | None = None
    trouble: str = ""


@dataclass(frozen=True)
class SeenTable:
    """A table in the catalog. `rows` and `snapshot_ms` None: it has no snapshot yet; `by_pattern`: declared by a pattern of names."""

    name: str
    rows: int | None
    snapshot_ms: int | None
    by_pattern: bool = False


@dataclass(frozen=True)
class DeadLetters:
    """Dead letters on a topic. `reasons`: how many by step and reason, among the latest that were looked at; `looked_at`: those.

    `at_most`: not all were looked at, and there are so many at most, as `SeenTopic` says it.
    """

    topic: str
    letters: int
    looked_at: int
    reasons: Mapping[str, int] = field(default_factory=dict)
    at_most: bool = False


@dataclass(frozen=True)
class OnlineStore:
    """The online store: how many keys it holds, and the bytes that they take."""

    keys: int
    bytes: int


@dataclass(frozen=True)
class Seen:
    """All that was seen at `at_ms`. A part that did not answer is None here and has a sentence in `silent`, by its name.

    `subjects`: of the registry, each with the versions of ours whose very schema it holds.
    """

    at_ms: int
    topics: tuple[SeenTopic, ...] | None = None
    groups: tuple[SeenGroup, ...] | None = None
    subjects: Mapping[str, frozenset[int]] | None = None
    jobs: tuple[SeenJob, ...] | None = None
    missing_jobs: tuple[str, ...] = ()
    tables: tuple[SeenTable, ...] | None = None
    dead_letters: tuple[DeadLetters, ...] | None = None
    online: OnlineStore | None = None
    silent: Mapping[str, str] = field(default_factory=dict)
