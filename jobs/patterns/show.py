"""One aggregate for people and programs: its state as of any time, and its audit trail."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape

from infra.config import Settings
from infra.contracts.codec import rfc3339
from infra.errors import StreamhouseError
from jobs.patterns.aggregate import Aggregate, Held, folded
from jobs.patterns.archive_store import ArchivedEvents
from jobs.patterns.event_store import Until
from jobs.patterns.kafka_store import KafkaEventStore
from jobs.patterns.message import Message
from jobs.patterns.recorded import Recorded
from jobs.patterns.snapshots import plain

FOUND, UNKNOWN = 0, 1
_SHOWN = 20


def show(
    settings: Settings,
    known: Mapping[str, Aggregate],
    kind: str,
    aggregate_id: str,
    at: datetime | None,
    offset: int | None,
    version: int | None,
    *,
    history: bool,
    archive: bool,
    as_json: bool,
) -> int:
    """Print it, of the `known` kinds; answers 1 when it had no event by then.

    Raises:
        StreamhouseError: no such kind, or the log or table cannot be read.

    """
    if kind not in known:
        message = f"kind {kind!r}: expected one of {', '.join(sorted(known))}"
        raise StreamhouseError(message)
    until = Until(version, None if at is None else milliseconds(at), offset)
    store = ArchivedEvents(settings, known[kind]) if archive else KafkaEventStore(settings, known[kind])
    events: list[Recorded] = []
    if history:
        events = list(store.history(aggregate_id, until))
        held = folded(known[kind], (event.envelope for event in events))
    else:
        held = store.load(aggregate_id, until)
    if version is not None and 0 < held.version < version:
        message = f"{kind} {aggregate_id!r}: expected its version {version}, the latest is {held.version}"
        raise StreamhouseError(message)
    if as_json:
        sys.stdout.buffer.write(_document(kind, aggregate_id, held, events if history else None) + b"\n")
        return FOUND if held.version else UNKNOWN
    console = Console(soft_wrap=True)
    if not held.version:
        console.print(f"{kind} {escape(aggregate_id)}: no event{'' if until.is_now else ' by then'}", highlight=False)
        return UNKNOWN
    console.print(f"{kind} {escape(aggregate_id)}, version {held.version}", highlight=False)
    for line in _state(held.state):
        console.print(escape(line), highlight=False)
    if history:
        _print_history(console, events)
    return FOUND


def _state(state: object) -> Iterator[str]:
    """A line for each part of a state, and for each entry of a map, of which the first so many."""
    for name, value in msgspec.to_builtins(state, enc_hook=plain).items():
        if not isinstance(value, dict):
            yield f"  {name}: {_short(name, value)}"
            continue
        yield f"  {name}: {len(value):,} {'entry' if len(value) == 1 else 'entries'}"
        for key in sorted(value)[:_SHOWN]:
            yield f"    {key}: {_short(key, value[key])}"
        if len(value) > _SHOWN:
            yield f"    ... and {len(value) - _SHOWN:,} more; --json tells all"


def milliseconds(moment: datetime) -> int:
    """A time without a zone is UTC."""
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def said(data: Message, *without: str) -> str:
    """What a message says, in few words: beside the aggregate's id and the fields of `without`."""
    told: dict[str, Any] = msgspec.to_builtins(data)
    left = {name: value for name, value in told.items() if value != data.aggregate_id and value is not None and name not in without}
    return ", ".join(f"{name} {_short(name, value)}" for name, value in left.items())


def _short(name: str, value: Any) -> str:  # noqa: ANN401 - JSON
    if name == "deadline" and isinstance(value, int):
        return rfc3339(value)[11:19]
    if isinstance(value, list | tuple) and not value:
        return "none"
    if isinstance(value, list | tuple):
        return "; ".join(_short("", item) for item in value)
    if isinstance(value, dict):
        return " ".join(f"{key} {_short(key, inner)}" for key, inner in value.items())
    return str(value)


def _document(kind: str, aggregate_id: str, held: Held, events: list[Recorded] | None) -> bytes:
    document: dict[str, Any] = {"kind": kind, "id": aggregate_id, "version": held.version, "state": held.state}
    if events is not None:
        document["history"] = [as_dict(event) for event in events]
    return msgspec.json.encode(document, enc_hook=plain)


def as_dict(event: Recorded) -> dict[str, Any]:
    """An event and its place, for programs."""
    envelope = event.envelope
    return {
        "version": envelope.aggregate_version,
        "type": envelope.type,
        "at": rfc3339(envelope.at),
        "topic": event.topic,
        "partition": event.partition,
        "offset": event.offset,
        "eventId": envelope.id,
        "causationId": envelope.causation_id,
        "correlationId": envelope.correlation_id,
        "data": msgspec.to_builtins(envelope.data),
    }


def _print_history(console: Console, events: list[Recorded]) -> None:
    for event in events:
        envelope = event.envelope
        console.print(
            f"{envelope.aggregate_version:>6}  {rfc3339(envelope.at)}  [bold]{envelope.type:<18}[/]  {escape(said(envelope.data))}"
            f"  [dim]at {event.partition}:{event.offset}, by command {escape(envelope.causation_id or 'unknown')}[/]",
            highlight=False,
        )
