"""An aggregate: two pure functions, and the state that they make of a command's answer and of an event's fact.

`decide(state, command, now_ms)` answers the events that follow, none where the command changes nothing, or a refusal, which changes
nothing either. `evolve(state, event)` makes the next state. A state is a function of the aggregate's events alone, in their order, so
it is the same whenever and wherever they are folded again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from jobs.patterns.message import Codec, Envelope, Message, derived_id

REMEMBERED = 1_000
"""So many of an aggregate's latest commands are known again when they come twice."""


@dataclass(frozen=True)
class Refused:
    """Why a command changes nothing: a code to count by and a sentence for its sender."""

    reason: str
    message: str


Decide = Callable[[Any, Any, int], Sequence[Message] | Refused]
Evolve = Callable[[Any, Any], Any]
Deadline = Callable[[Any], tuple[int, Message] | None]


def no_deadline(_: object) -> None:
    """An aggregate that waits for nothing."""


@dataclass(frozen=True)
class Aggregate:
    """What an aggregate is. `state`: a msgspec Struct that without arguments is the state before any event.

    `deadline(state)`: when it waits for something, until when (ms) and which command its owner gives it then. `snapshot_every`: so many
    events of one aggregate lie between two snapshots; 0: none are made. `state_version` rises when `state` or `evolve` change, so that
    no snapshot of the old ones is read.
    """

    name: str
    state: type[Any]
    commands: Sequence[type[Message]]
    events: Sequence[type[Message]]
    decide: Decide
    evolve: Evolve
    deadline: Deadline = no_deadline
    snapshot_every: int = 5_000
    state_version: int = 1
    codec: Codec = field(init=False, repr=False, compare=False)
    """Decodes its events."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "codec", Codec(self.events))

    @property
    def topic(self) -> str:
        """Where its events lie."""
        return self.events[0].topic

    @property
    def command_topic(self) -> str:
        """Where commands to it are sent."""
        return self.commands[0].topic


class Held(msgspec.Struct, frozen=True):
    """An aggregate as its events made it. `version`: how many there were; `recent`: the version that each of its latest commands led to."""

    state: Any
    version: int = 0
    recent: dict[str, int] = {}


@dataclass(frozen=True)
class Decision:
    """What became of a command: the events to append, in order, and the aggregate with them; or why it was refused.

    `repeated`: the command had been accepted before, and nothing is appended.
    """

    held: Held
    events: tuple[Envelope, ...] = ()
    refused: Refused | None = None
    repeated: bool = False

    @property
    def version(self) -> int:
        """The aggregate's version after the command; of a repeated one, after it was accepted first."""
        return self.held.version


def begun(aggregate: Aggregate) -> Held:
    """An aggregate before its first event."""
    return Held(aggregate.state())


def decided(aggregate: Aggregate, held: Held, command: Envelope, now_ms: int) -> Decision:
    """Give an aggregate a command: known ids are answered as before, an expected version that is not there is a conflict."""
    if (version := held.recent.get(command.id)) is not None:
        return Decision(msgspec.structs.replace(held, version=version), repeated=True)
    if command.expected_version is not None and command.expected_version != held.version:
        text = f"{aggregate.name} {command.data.aggregate_id!r}: expected version {command.expected_version}, it has {held.version}"
        return Decision(held, refused=Refused("conflict", f"{text}; load it again and decide anew"))
    answer = aggregate.decide(held.state, command.data, now_ms)
    if isinstance(answer, Refused):
        return Decision(held, refused=answer)
    events = []
    for i, data in enumerate(answer):
        event = Envelope(
            # of the aggregate too: clients may give one id to commands for two of them, and these are two commands
            id=derived_id(command.id, f"{aggregate.topic}/{command.data.aggregate_id}/{i}"),
            at=now_ms,
            source=f"streamhouse/{aggregate.name}",
            correlation_id=command.correlation_id,
            data=data,
            causation_id=command.id,
            aggregate_version=held.version + 1,
        )
        held = evolved(aggregate, held, event)
        events.append(event)
    return Decision(held, tuple(events))


def evolved(aggregate: Aggregate, held: Held, event: Envelope) -> Held:
    """An aggregate after its next event."""
    version, recent = held.version + 1, held.recent
    if event.causation_id is not None:
        recent = {**recent, event.causation_id: version}
        if len(recent) > REMEMBERED:
            del recent[next(iter(recent))]
    return Held(aggregate.evolve(held.state, event.data), version, recent)


class Folding:
    """An aggregate while its events are folded, one after the other: quicker than `evolved` where there are many."""

    __slots__ = ("_aggregate", "_recent", "_state", "version")

    def __init__(self, aggregate: Aggregate, held: Held | None = None) -> None:
        held = begun(aggregate) if held is None else held
        self._aggregate, self._state, self.version, self._recent = aggregate, held.state, held.version, dict(held.recent)

    def add(self, event: Envelope) -> None:
        """The next event."""
        self._state = self._aggregate.evolve(self._state, event.data)
        self.version += 1
        if event.causation_id is not None:
            self._recent[event.causation_id] = self.version
            if len(self._recent) > REMEMBERED:
                del self._recent[next(iter(self._recent))]

    @property
    def held(self) -> Held:
        """The aggregate as it is by now."""
        return Held(self._state, self.version, dict(self._recent))


def folded(aggregate: Aggregate, events: Iterable[Envelope], held: Held | None = None) -> Held:
    """An aggregate as its events make it, from the start or from `held` on."""
    folding = Folding(aggregate, held)
    for event in events:
        folding.add(event)
    return folding.held
