"""What a contract is: a topic, the events on it, the examples that show both. Plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from infra.errors import StreamhouseError

LETTER_KEY_BYTES = 4096
"""The longest key of a refused record that its dead letter has as its own key too."""
LETTER_ENVELOPE_BYTES = 8192
"""What a dead letter adds at most to the refused record's key and value: envelope, error, the framing of a Kafka record."""


@dataclass(frozen=True)
class EventTime:
    """Which event timestamps a topic believes: `not_before_ms` (since 1970) to Kafka's time plus `ahead_ms`."""

    not_before_ms: int
    ahead_ms: int


@dataclass(frozen=True)
class Key:
    """What a record's key holds (a path into the value; None: what the source had) and how it becomes a partition."""

    field: str | None
    partitioner: str


@dataclass(frozen=True)
class Example:
    """One message. `value` None is a tombstone; `step` and `reason` name the refusal that an invalid one must meet.

    `partition` and `kafka_time_ms` place the record, and `headers` are its own, where the refusal depends on it; None: any that is right.
    """

    name: str
    value: bytes | None
    file: Path | None
    step: str | None = None
    reason: str | None = None
    partition: int | None = None
    kafka_time_ms: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Deprecation:
    """A version that is on its way out: the last day on which it may be sent, who answers for the change, and what to send instead."""

    ends: date
    owner: str
    replacement: tuple[str, int]


@dataclass(frozen=True)
class Upcast:
    """How an event of the version before becomes one of this version: fields of `data` by their names on the wire.

    `renamed`: old name to new; `filled`: what a field holds that the version before does not have. A field of neither keeps its name, and
    one that this version does not have is let go.
    """

    renamed: Mapping[str, str] = field(default_factory=dict)
    filled: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Topic:
    """One contract file. `retention_ms` None: kept without limit; `events`: (type, version) that may lie on it.

    `deprecations` and `upcasts` belong to some of `events`: those that are on their way out, and those that follow a version.

    `cleanup`: `delete` what is past its retention, or `compact`, which keeps each key's latest record; `table` None: it is not archived.
    """

    name: str
    file: Path
    domain: str
    owner: str
    description: str
    key: Key
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    partitions: int
    cleanup: str
    retention_ms: int | None
    max_message_bytes: int
    timestamp_type: str
    compatibility: str
    dead_letter_topic: str | None
    events: tuple[tuple[str, int], ...]
    event_time: EventTime | None
    table: str | None
    valid: tuple[Example, ...]
    invalid: tuple[Example, ...]
    deprecations: Mapping[tuple[str, int], Deprecation] = field(default_factory=dict)
    upcasts: Mapping[tuple[str, int], Upcast] = field(default_factory=dict)

    def versions(self, event_type: str) -> tuple[int, ...]:
        """The versions of an event type that may lie on it, ascending."""
        return tuple(sorted(version for kind, version in self.events if kind == event_type))

    @property
    def archive(self) -> str:
        """The table of a topic that is archived.

        Raises:
            StreamhouseError: it is not.

        """
        if self.table is None:
            message = f"topic {self.name}: expected an archive table, got `table: null`; name a topic that is archived"
            raise StreamhouseError(message)
        return self.table


@dataclass(frozen=True)
class EventSchema:
    """The JSON Schema of one event type and version, over the whole envelope."""

    event_type: str
    version: int
    file: Path
    document: Mapping[str, Any]


@dataclass(frozen=True)
class Contracts:
    """Everything under one contracts folder: topics by name, schemas by (event type, version), all example files."""

    folder: Path
    topics: Mapping[str, Topic]
    schemas: Mapping[tuple[str, int], EventSchema]
    example_files: frozenset[Path]
