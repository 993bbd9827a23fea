"""What became of each dead letter, pure: letters and notes -> chains, their states, groups, and the choice of what to send.

A chain begins with a record that was refused, the original. Its letter is sent again as a new record; when that is refused too, its
letter is the next link. Each letter is sent at most once, so a chain never forks, and its original has at most one successor that was
accepted. Chains are told by the notes alone: a letter's own claim to be a replay comes from a header that any producer can send.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from jobs.dlq.letters import Letter, Place
from jobs.dlq.notes import Note


class State(StrEnum):
    """What became of a letter."""

    OPEN = "open"
    UNANSWERED = "sent again, not answered yet"
    ACCEPTED = "sent again and accepted"
    REFUSED = "sent again and refused again"
    QUARANTINED = "quarantined"


@dataclass(frozen=True)
class Chains:
    """Letters by the refused record's place, notes by the letter's and by the replay's place, and the replays that have a prediction.

    `unreadable`: how many records of the two topics are no letter and no note.
    """

    letters: Mapping[Place, Letter]
    replayed: Mapping[Place, Note] = field(default_factory=dict)
    quarantined: Mapping[Place, Note] = field(default_factory=dict)
    origins: Mapping[Place, Note] = field(default_factory=dict)
    accepted: frozenset[Place] = frozenset()
    unreadable: int = 0

    def original(self, place: Place) -> Place:
        """The first record of the chain in which a record of the source topic stands."""
        note = self.origins.get(place)
        return place if note is None else note.original

    def retries(self, place: Place) -> int:
        """How often the original had been sent again when this record was sent."""
        note = self.origins.get(place)
        return 0 if note is None else note.retry_count

    def state(self, place: Place) -> State:
        """What became of the letter of this record."""
        note = self.replayed.get(place)
        if note is None:
            return State.QUARANTINED if place in self.quarantined else State.OPEN
        if note.replay in self.letters:
            return State.REFUSED
        return State.ACCEPTED if note.replay in self.accepted else State.UNANSWERED

    def unanswered(self) -> dict[Place, Note]:
        """Replays of these letters, by their places, that no letter and no known prediction answers."""
        sent = (self.replayed[place] for place in self.letters if self.state(place) == State.UNANSWERED)
        return {note.replay: note for note in sent if note.replay is not None}


@dataclass(frozen=True)
class Group:
    """Open letters of one kind. Times in ms since 1970; `example`: the place of the last one."""

    step: str
    reason: str
    version: str
    count: int
    first_ms: int
    last_ms: int
    example: Place


@dataclass(frozen=True)
class Wanted:
    """Which letters to send; None and empty ask for nothing. `quarantined`: those too, whatever their number of replays."""

    places: frozenset[Place] = frozenset()
    step: str | None = None
    reason: str | None = None
    version: str | None = None
    limit: int | None = None
    quarantined: bool = False


def chained(letters: Iterable[Letter], notes: Iterable[Note], unreadable: int = 0) -> Chains:
    """Letters and notes, each in the order of its topic, put together; of two about one record the first counts."""
    by_place: dict[Place, Letter] = {}
    for letter in letters:
        by_place.setdefault(letter.place, letter)
    replayed: dict[Place, Note] = {}
    quarantined: dict[Place, Note] = {}
    origins: dict[Place, Note] = {}
    for note in notes:
        (quarantined if note.replay is None else replayed).setdefault(note.letter, note)
        if note.replay is not None:
            origins.setdefault(note.replay, note)
    return Chains(by_place, replayed, quarantined, origins, unreadable=unreadable)


def groups(chains: Chains) -> list[Group]:
    """The open letters by step, reason and version; the largest group first."""
    kinds: dict[tuple[str, str, str], list[Letter]] = {}
    for place, letter in chains.letters.items():
        if chains.state(place) == State.OPEN:
            kinds.setdefault((letter.step, letter.reason, letter.version), []).append(letter)
    found = []
    for kind, letters in kinds.items():
        last = max(letters, key=lambda letter: (letter.failed_ms, letter.place))
        found.append(Group(*kind, len(letters), min(letter.failed_ms for letter in letters), last.failed_ms, last.place))
    return sorted(found, key=lambda group: (-group.count, group.step, group.reason, group.version))


def choose(chains: Chains, wanted: Wanted) -> list[Letter]:
    """The letters that are open, and quarantined ones where they are asked for too, oldest first."""
    states = {State.OPEN, State.QUARANTINED} if wanted.quarantined else {State.OPEN}
    found = [
        letter
        for place, letter in chains.letters.items()
        if (not wanted.places or place in wanted.places)
        and wanted.step in (None, letter.step)
        and wanted.reason in (None, letter.reason)
        and wanted.version in (None, letter.version)
        and chains.state(place) in states
    ]
    found.sort(key=lambda letter: (letter.failed_ms, letter.place))
    return found[: wanted.limit]


def is_spent(chains: Chains, place: Place, max_retries: int, wanted: Wanted) -> bool:
    """Whether a chosen letter is quarantined instead of sent."""
    return chains.retries(place) >= max_retries and not wanted.quarantined


def story(chains: Chains, place: Place) -> list[Place]:
    """Every record of the chain in which a record stands, the original first; empty: no letter and no note knows it."""
    place = chains.original(place)
    if place not in chains.letters and place not in chains.replayed and place not in chains.quarantined:
        return []
    links = [place]
    while (note := chains.replayed.get(links[-1])) is not None and note.replay is not None and note.replay not in links:
        links.append(note.replay)
    return links
