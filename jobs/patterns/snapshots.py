"""Snapshots: an aggregate as it was at a version, on a compacted topic. They only save time: without them the events give the same.

A snapshot of another `state_version`, or one that cannot be read, is passed over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, get_args, get_origin

import msgspec
from immutables import Map
from msgspec import Meta

from infra.contracts.events import Rejected
from jobs.patterns.aggregate import Aggregate, Held
from jobs.patterns.handling import Outgoing
from jobs.patterns.message import Codec, Envelope, Id, Message, derived_id, encode

TOPIC = "aggregate-snapshots"
_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class AggregateSnapshotted(Message, frozen=True):
    """An aggregate's state at a version. What follows lies from `offset` on in the same partition, perhaps behind events that it holds."""

    topic: ClassVar[str] = TOPIC
    key: ClassVar[str] = "aggregate_id"
    event_topic: Annotated[str, Meta(max_length=249)]
    aggregate_id: Id
    aggregate_version: _Count
    offset: _Count
    state_version: _Count
    state: msgspec.Raw
    recent: dict[str, int]


@dataclass(frozen=True)
class Snapshot:
    """A snapshot as it was read."""

    aggregate_id: str
    held: Held
    offset: int


_codec = Codec([AggregateSnapshotted])


def snapshot_of(aggregate: Aggregate, aggregate_id: str, held: Held, partition: int, end: int, now_ms: int) -> Outgoing:
    """The record of a snapshot. `end`: a place in the event log from which on every event behind the snapshot lies."""
    state = msgspec.Raw(msgspec.json.encode(held.state, enc_hook=plain))
    data = AggregateSnapshotted(aggregate.topic, aggregate_id, held.version, end, aggregate.state_version, state, held.recent)
    identity = derived_id(f"{aggregate.topic}/{aggregate_id}", f"snapshot {held.version}")
    _, value, headers = encode(Envelope(identity, now_ms, f"streamhouse/{aggregate.name}", aggregate_id, data))
    return Outgoing(TOPIC, f"{aggregate.topic}/{aggregate_id}".encode(), value, headers, partition)


def read_snapshot(aggregate: Aggregate, value: bytes | None) -> Snapshot | None:
    """What a record of the snapshots' topic says of an aggregate of this kind; None: nothing that can be used."""
    read = _codec.decode(value)
    if isinstance(read, Rejected) or not isinstance(read.data, AggregateSnapshotted):
        return None
    data = read.data
    if data.event_topic != aggregate.topic or data.state_version != aggregate.state_version:
        return None
    try:
        state = msgspec.json.decode(data.state, type=aggregate.state, dec_hook=_typed)
    except (msgspec.MsgspecError, ValueError):
        return None
    return Snapshot(data.aggregate_id, Held(state, data.aggregate_version, data.recent), data.offset)


def plain(value: object) -> object:
    """What msgspec writes for a value of a state that it does not know: a map as an object."""
    if isinstance(value, Map):
        return dict(value)
    message = f"a state holds {type(value).__name__}, which no snapshot can keep; use msgspec's types and immutables.Map"
    raise NotImplementedError(message)


def _typed(kind: Any, value: Any) -> Any:  # noqa: ANN401 - msgspec's own signature
    if get_origin(kind) is Map:
        return Map(msgspec.convert(value, dict[get_args(kind)]))  # type: ignore[misc]
    message = f"a state holds {kind}, which no snapshot can keep; use msgspec's types and immutables.Map"
    raise NotImplementedError(message)
