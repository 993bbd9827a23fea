"""What was decided about the schema ids of framed records, folded from the events that say so. Pure.

Which id was known at an offset must come out again when the registry is gone, so it is on record before the first answer that rests on
it. Two events do: an id is known in a partition from an offset on, with its schema; and in a partition everything up to an offset is
decided, so whichever id was not known there is unknown for good. An id becomes known only behind what is decided. So the
latter needs no ids: bad input of any number of invented ids leaves one number for each partition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import immutables
import msgspec
import orjson

from infra.contracts.codec import DEPTH, nests_deeper, rfc3339
from infra.contracts.framing import WriterSchema

TOPIC = "schema-ids"
KNOWN, UNKNOWN = "SchemaIdKnown", "SchemaIdsUnknown"
_SOURCE = "streamhouse/score-events"

Place = tuple[str, int]
"""A topic and a partition of it."""


@dataclass(frozen=True)
class Known:
    """In this partition the id stands for this schema from the offset on."""

    topic: str
    partition: int
    from_offset: int
    schema_id: int
    schema: WriterSchema


@dataclass(frozen=True)
class Unknown:
    """In this partition each id that is not known up to and including the offset is unknown there."""

    topic: str
    partition: int
    until_offset: int


@dataclass(frozen=True)
class Decisions:
    """All events so far. `known`: by topic, partition and id; `decided`: by place, the last offset that is decided.

    `latest`: by topic and id, what the id was last known as, in whichever partition.
    """

    known: immutables.Map[tuple[str, int, int], Known] = field(default_factory=immutables.Map)
    decided: immutables.Map[Place, int] = field(default_factory=immutables.Map)
    latest: immutables.Map[tuple[str, int], Known] = field(default_factory=immutables.Map)

    def after(self, event: Known | Unknown) -> Decisions:
        """With one more event; one that would change what is decided already changes nothing, and neither does one that comes again."""
        place = (event.topic, event.partition)
        decided = self.decided.get(place, -1)
        if isinstance(event, Unknown):
            return replace(self, decided=self.decided.set(place, max(decided, event.until_offset)))
        key, key_anywhere = (*place, event.schema_id), (event.topic, event.schema_id)
        held = self.known.get(key)
        if held is None and event.from_offset > decided:
            return replace(self, known=self.known.set(key, event), latest=self.latest.set(key_anywhere, event))
        if held == event and self.latest[key_anywhere] != event:
            # a worker holds its own event before it reads those that lie ahead of it; when it reads it again, `latest` is as on record
            return replace(self, latest=self.latest.set(key_anywhere, event))
        return self

    def schema_at(self, topic: str, partition: int, offset: int, schema_id: int) -> WriterSchema | None:
        """The schema of an id as it was known at a record; None: it was not."""
        event = self.known.get((topic, partition, schema_id))
        return None if event is None or event.from_offset > offset else event.schema

    def latest_schema(self, topic: str, schema_id: int) -> WriterSchema | None:
        """What an id was last known as in any partition of a topic; None: in none. No record is decoded by it: its place says by what."""
        event = self.latest.get((topic, schema_id))
        return None if event is None else event.schema

    def first_known(self, topic: str, partition: int) -> int | None:
        """The first record whose id is known; None: there is none in this partition."""
        here = (event.from_offset for event in self.known.values() if (event.topic, event.partition) == (topic, partition))
        return min(here, default=None)

    def is_decided(self, topic: str, partition: int, offset: int, schema_id: int) -> bool:
        """Whether no later event can change what `schema_at` says of a record."""
        return offset <= self.decided.get((topic, partition), -1) or self.schema_at(topic, partition, offset, schema_id) is not None


class Schemas(Protocol):
    """By what framed records are decoded: what is on record (`Decisions`), or a worker that decides (`jobs.schema_ids`)."""

    def schema_at(self, topic: str, partition: int, offset: int, schema_id: int) -> WriterSchema | None:
        """The schema of an id as it was known at a record; None: it was not."""
        ...


NOTHING = Decisions()
"""Where no framed record was read yet."""


class _Data(msgspec.Struct, rename="camel"):
    topic: str
    partition: int
    from_offset: int = -1
    until_offset: int = -1
    schema_id: int = -1
    schema_type: str = ""
    schema: str = ""


class _Event(msgspec.Struct, rename="camel"):
    event_type: str
    data: _Data


_event = msgspec.json.Decoder(_Event)


def read_decision(value: bytes | None) -> Known | Unknown | None:
    """An event of topic schema-ids; None: it is none. Never raises."""
    if value is None or nests_deeper(value, DEPTH):
        return None
    try:
        event = _event.decode(value)
    except (msgspec.MsgspecError, ValueError):
        return None
    data = event.data
    if event.event_type == UNKNOWN and data.until_offset >= 0:
        return Unknown(data.topic, data.partition, data.until_offset)
    if event.event_type == KNOWN and data.from_offset >= 0 and data.schema_id >= 0:
        return Known(data.topic, data.partition, data.from_offset, data.schema_id, WriterSchema(data.schema_type, data.schema))
    return None


def after_value(decisions: Decisions, value: bytes | None) -> Decisions:
    """The decisions with what one record of topic schema-ids says."""
    event = read_decision(value)
    return decisions if event is None else decisions.after(event)


def write_decision(event: Known | Unknown, event_id: str, now_ms: int) -> tuple[bytes, bytes]:
    """Key and value of an event's record; the same decision has the same event id."""
    data: Mapping[str, object] = (
        {"untilOffset": event.until_offset}
        if isinstance(event, Unknown)
        else {
            "fromOffset": event.from_offset,
            "schemaId": event.schema_id,
            "schemaType": event.schema.kind,
            "schema": event.schema.text,
        }
    )
    envelope = {
        "eventType": UNKNOWN if isinstance(event, Unknown) else KNOWN,
        "eventId": event_id,
        "timestamp": rfc3339(now_ms),
        "version": 1,
        "source": _SOURCE,
        "correlationId": event_id,
        "data": {"topic": event.topic, "partition": event.partition} | dict(data),
    }
    return f"{event.topic}:{event.partition}".encode(), orjson.dumps(envelope)
