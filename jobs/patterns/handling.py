"""One record -> what a participant sends because of it. Pure: the states of aggregates come in, and the changed ones go out.

An exception of an aggregate's or a reaction's own code passes through; whoever calls tries again, and makes it a dead letter in the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from infra.contracts.events import Rejected
from infra.contracts.partitioner import partition_of
from jobs.patterns.aggregate import Aggregate, Decision, Held, begun, decided
from jobs.patterns.message import REPLAYED, Envelope, Headers, derived_id, encode
from jobs.patterns.participant import Participant
from jobs.patterns.replies import CommandAccepted, CommandRefused

_FRAMING = 1024  # bytes that Kafka adds to a record, at most


@dataclass(frozen=True)
class Incoming:
    """A record as it was read."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    kafka_ms: int


@dataclass(frozen=True)
class Outgoing:
    """A record to be sent. `partition` None: that of its key."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers = field(default_factory=list)
    partition: int | None = None

    @property
    def size(self) -> int:
        """At most so many bytes in Kafka, before compression."""
        return len(self.value) + len(self.key or b"") + sum(len(name) + len(value) for name, value in self.headers) + _FRAMING


@dataclass(frozen=True)
class Handled:
    """What follows from a record: what to send, the aggregate that it changed, or why it cannot be handled."""

    outgoing: tuple[Outgoing, ...] = ()
    changed: tuple[str, Held] | None = None
    rejected: Rejected | None = None


class _Head(msgspec.Struct, rename="camel"):
    event_type: Any = None


_head = msgspec.json.Decoder(_Head)


def handle(participant: Participant, record: Incoming, held: Mapping[str, Held], partitions: int, now_ms: int) -> Handled:
    """What a participant does about a record; `held`: the aggregates of the partition, those before their first event left out.

    `partitions`: how many the command topic has, and the event topic too.
    """
    if is_event(participant, record):
        return _on_event(participant, record, now_ms)
    if participant.aggregate is None:
        return Handled()  # a command to the one whose topic it shares
    return _on_command(participant, participant.aggregate, record, held, partitions, now_ms)


def is_event(participant: Participant, record: Incoming) -> bool:
    """Whether a record is something to react to: it lies on another topic than commands, or came back from the dead letters.

    An event that comes back has the commands that follow from it under the ids that they had the first time, so one that its aggregate
    knows is not decided again. Where it lies says nothing: key and partition are the event's own.
    """
    return record.topic != participant.inbox or (_is_replayed(record) and _type(record.value) in participant.reacted)


def refusal(participant: Participant, record: Incoming, partitions: int, now_ms: int) -> Rejected | None:
    """Why a record cannot be read or reacted to now. None: it can; what is decided about a command its aggregate's owner alone knows."""
    if not is_event(participant, record):
        read = None if participant.aggregate is None else _command(participant, participant.aggregate, record, partitions)
        return read if isinstance(read, Rejected) else None
    try:
        return _on_event(participant, record, now_ms).rejected
    except Exception as error:
        return Rejected("react", "handler_failed", f"{type(error).__name__}: {error}")


def expire(aggregate: Aggregate, aggregate_id: str, held: Held, now_ms: int) -> Handled:
    """What an aggregate does when its deadline has passed: its own command, decided by its owner without a way over the topic."""
    due = aggregate.deadline(held.state)
    if due is None or due[0] > now_ms:
        return Handled()
    cause = derived_id(f"{aggregate.topic}/{aggregate_id}", f"deadline after version {held.version}")
    command = Envelope(cause, now_ms, f"streamhouse/{aggregate.name}", aggregate_id, due[1])
    decision = decided(aggregate, held, command, now_ms)
    return Handled(_appended(decision), (aggregate_id, decision.held) if decision.events else None)


def _on_command(
    participant: Participant, aggregate: Aggregate, record: Incoming, held: Mapping[str, Held], partitions: int, now_ms: int
) -> Handled:
    command = _command(participant, aggregate, record, partitions)
    if isinstance(command, Rejected):
        if command.reason == "unknown_event_type" and _is_replayed(record):
            return Handled()  # it comes back to another participant, which shares this topic
        return Handled(rejected=command)
    key = command.data.aggregate_id
    decision = decided(aggregate, held.get(key) or begun(aggregate), command, now_ms)
    replies = [_reply(participant, command, decision, now_ms)] if command.wants_reply or decision.refused else []
    return Handled((*_appended(decision), *replies), (key, decision.held) if decision.events else None)


def _command(participant: Participant, aggregate: Aggregate, record: Incoming, partitions: int) -> Envelope | Rejected:
    command = participant.codec.decode(record.value, record.headers)
    if isinstance(command, Rejected):
        return command
    if not isinstance(command.data, tuple(aggregate.commands)):
        sentence = f"{command.type} lies on {command.data.topic}, and {record.topic} takes commands alone"
        return Rejected("validate", "unknown_event_type", sentence)
    key = command.data.aggregate_id
    if record.key != key.encode() or record.partition != partition_of(key, partitions):
        sentence = (
            f"the record has key {(record.key or b'')[:80]!r} in partition {record.partition}; a command to {key[:80]!r} has that as its"
            f" key and lies in partition {partition_of(key, partitions)} (murmur2)"
        )
        return Rejected("validate", "wrong_partition", sentence)
    return command


def _on_event(participant: Participant, record: Incoming, now_ms: int) -> Handled:
    event = participant.codec.decode(record.value, record.headers)
    if isinstance(event, Rejected):
        if event.reason == "unknown_event_type" and _type(record.value) not in participant.reacted:
            return Handled()
        return Handled(rejected=event)
    reaction = participant.reactions.get(type(event.data))
    commands = [] if reaction is None else reaction(event.data)
    return Handled(
        tuple(
            _outgoing(
                Envelope(
                    # the same whenever the event is read again, so that the aggregate knows the command
                    id=derived_id(event.id, f"{participant.name}/{i}"),
                    at=now_ms,
                    source=f"streamhouse/{participant.name}",
                    correlation_id=event.correlation_id,
                    data=command,
                    causation_id=event.id,
                )
            )
            for i, command in enumerate(commands)
        )
    )


def _appended(decision: Decision) -> tuple[Outgoing, ...]:
    return tuple(_outgoing(event) for event in decision.events)


def _reply(participant: Participant, command: Envelope, decision: Decision, now_ms: int) -> Outgoing:
    about = (command.id, command.type, command.data.aggregate_id, decision.version)
    refused = decision.refused
    data = CommandAccepted(*about) if refused is None else CommandRefused(*about, refused.reason, refused.message[:1000])
    source = f"streamhouse/{participant.name}"
    return _outgoing(
        Envelope(
            derived_id(command.id, f"reply {command.data.topic}/{command.data.aggregate_id}"),
            now_ms,
            source,
            command.correlation_id,
            data,
            command.id,
        )
    )


def _outgoing(envelope: Envelope) -> Outgoing:
    return Outgoing(envelope.data.topic, *encode(envelope))


def _is_replayed(record: Incoming) -> bool:
    return any(name == REPLAYED for name, _ in record.headers)


def _type(value: bytes | None) -> object:
    try:
        return _head.decode(value or b"").event_type
    except (msgspec.MsgspecError, ValueError):
        return None
