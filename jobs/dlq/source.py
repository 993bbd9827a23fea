"""Whose dead letters are meant: those of the user actions, or those of the participants that share a command topic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from infra.config import Settings
from infra.contracts.contract import Topic
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError
from jobs.participants import participants
from jobs.patterns.participant import Participant

ACTIONS = "user-actions"
ACTIONS_NOTES, COMMANDS_NOTES = "user-actions-replays", "command-replays"
_TRANSACTIONAL_ID = "streamhouse-dlq-replay"


@dataclass(frozen=True)
class Source:
    """A topic to which dead letters are sent again, and the topics of its letters and of the notes about them.

    `participants`: by name, those that wrote the letters; none where they are of the user actions.
    """

    topic: Topic
    letters: Topic
    notes: Topic
    participants: Mapping[str, Participant] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The topic's."""
        return self.topic.name

    @property
    def beside(self) -> dict[str, int]:
        """Other topics whose records are refused into the same letters, with their partitions."""
        contracts = load_contracts().topics
        read = {name for one in self.participants.values() for name in one.topics if name != self.name}
        return {name: contracts[name].partitions for name in sorted(read)}

    @property
    def transactional_id(self) -> str:
        """One for each topic of notes: whoever takes it over aborts what a run before left open there."""
        return f"{_TRANSACTIONAL_ID}-commands" if self.participants else _TRANSACTIONAL_ID

    @property
    def option(self) -> str:
        """What a command is told so that it means this one."""
        return f" --topic {self.name}" if self.participants else ""


def sources(settings: Settings) -> dict[str, Source]:
    """All that there are, by the names of their topics; the user actions first."""
    contracts = load_contracts().topics
    found = {ACTIONS: Source(contracts[ACTIONS], contracts[f"{ACTIONS}-dlq"], contracts[ACTIONS_NOTES])}
    for name, one in participants(settings).items():
        topic = one.inbox or ""
        held = found.get(topic) or Source(contracts[topic], contracts[one.dead_letters], contracts[COMMANDS_NOTES])
        found[topic] = Source(held.topic, held.letters, held.notes, {**held.participants, name: one})
    return found


def source(settings: Settings, topic: str = ACTIONS) -> Source:
    """One of them.

    Raises:
        StreamhouseError: no records of that topic become dead letters.

    """
    known = sources(settings)
    if topic not in known:
        message = f"--topic {topic!r}: expected one of {', '.join(known)}, the topics to which dead letters are sent again"
        raise StreamhouseError(message)
    return known[topic]
