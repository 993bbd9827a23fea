"""The event store as its users see it: a port. Kafka stands behind it here; a database that can append conditionally could as well.

Whoever implements it promises, for each aggregate: an accepted command's events are appended all or none, directly behind the version for
which they were decided; a refused one changes nothing; a command id that comes again is answered as it was the first time, as long as it is
among the latest `REMEMBERED` of the aggregate that changed it; what `load` gives is the fold of what `history` gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from infra.errors import StreamhouseError
from jobs.patterns.aggregate import Held
from jobs.patterns.message import Message
from jobs.patterns.recorded import Recorded
from jobs.patterns.replies import CommandAccepted, CommandRefused

Reply = CommandAccepted | CommandRefused


class NoReply(StreamhouseError):
    """A command was sent and no answer came in time: whether it was accepted is not known. Sent again with its id, it is accepted once."""


@dataclass(frozen=True)
class Until:
    """How far back to look: up to and with a version, a time in ms, or an offset of the aggregate's partition. All None: all there is."""

    version: int | None = None
    at: int | None = None
    offset: int | None = None

    def holds(self, version: int, event: Recorded) -> bool:
        """Whether an event, the aggregate's `version`-th, still counts. The first that does not ends the history."""
        return (
            (self.version is None or version <= self.version)
            and (self.at is None or event.envelope.at <= self.at)
            and (self.offset is None or event.offset <= self.offset)
        )

    @property
    def is_now(self) -> bool:
        """Whether nothing is left out."""
        return self == NOW


NOW = Until()


def up_to(until: Until, events: Iterable[Recorded], version: int = 0) -> Iterator[Recorded]:
    """The part of an aggregate's history, behind `version`, that counts."""
    for event in events:
        version += 1
        if not until.holds(version, event):
            return
        yield event


class EventStore(Protocol):
    """The events of one kind of aggregate."""

    def execute(
        self, command: Message, command_id: str, *, expected_version: int | None = None, correlation_id: str | None = None
    ) -> Reply:
        """Give an aggregate a command, and say what became of it.

        Raises:
            NoReply: that is not known; send it again with the same id.

        """

    def load(self, aggregate_id: str, until: Until = NOW) -> Held:
        """An aggregate as it is, or was; one without events is as before its first."""

    def history(self, aggregate_id: str, until: Until = NOW) -> Iterator[Recorded]:
        """Its events, in order."""
