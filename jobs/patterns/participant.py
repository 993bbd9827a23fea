"""A participant: an aggregate's owner, and what it does about the events of others.

Commands to its aggregate lie on its command topic, and their partition is the aggregate's: whoever owns that partition alone decides, and
writes the events into the partition of the same number. What it does about other services' events is a function from event to commands, to
its own aggregate or another's; they travel through the command topic of that aggregate, so the same owner decides on them in one order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs.patterns.aggregate import Aggregate
from jobs.patterns.message import Codec, Message

Reaction = Callable[[Any], Sequence[Message]]


@dataclass(frozen=True)
class Participant:
    """A service of its own consumer group, which is called as it is. `aggregate` None: it owns nothing and only reacts.

    `dead_letters`: where what it cannot handle goes; by default the dead letters of its command topic.
    """

    name: str
    aggregate: Aggregate | None = None
    reactions: Mapping[type[Message], Reaction] = field(default_factory=dict)
    dead_letters: str = ""
    codec: Codec = field(init=False, repr=False, compare=False)
    """Decodes all that it handles."""

    def __post_init__(self) -> None:
        own = [] if self.aggregate is None else [*self.aggregate.commands]
        object.__setattr__(self, "codec", Codec([*own, *self.reactions]))
        if not self.dead_letters and self.aggregate is not None:
            object.__setattr__(self, "dead_letters", f"{self.aggregate.command_topic}-dlq")

    @property
    def command_topic(self) -> str | None:
        """Where commands to its aggregate are sent; None: it has none."""
        return None if self.aggregate is None else self.aggregate.command_topic

    @property
    def inbox(self) -> str | None:
        """Where it is sent what is meant for it alone: commands, and events that were its dead letters and come again.

        One that owns nothing shares the command topic beside whose dead letters its own lie, and passes the commands over.
        """
        return self.command_topic or self.dead_letters.removesuffix("-dlq") or None

    @property
    def topics(self) -> tuple[str, ...]:
        """What its group reads."""
        own = [] if self.inbox is None else [self.inbox]
        return tuple(dict.fromkeys([*own, *(kind.topic for kind in self.reactions)]))

    @property
    def reacted(self) -> frozenset[str]:
        """The event types that it does something about; others on the same topics are passed over."""
        return frozenset(kind.__name__ for kind in self.reactions)
