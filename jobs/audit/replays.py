"""Replays of dead letters, pure: each note has its record and each record its note, and no original has two accepted successors."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from jobs.audit.pins import ACTIONS, REPLAYS
from jobs.audit.topic_log import Step
from jobs.findings import Finding

HEADER = "streamhouse-replay"
_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Place = tuple[int, int]
"""Partition and offset of a record in the source topic."""


class Replay(NamedTuple):
    """A record of the source topic that repeats another: where it lies, the first record of its chain, the how-manieth replay it is."""

    place: Place
    original: Place
    number: int


class Note(NamedTuple):
    """What was noted of a replay, and where the note lies. `letter`: the record whose dead letter was sent again as `replay`."""

    lies_at: Place
    letter: Place
    replay: Replay


class _Header(msgspec.Struct, rename="camel"):
    partition: _Count
    offset: _Count
    retry_count: _Count


class _NoteData(msgspec.Struct, rename="camel"):
    original_partition: _Count
    original_offset: _Count
    letter_partition: _Count
    letter_offset: _Count
    replay_partition: _Count
    replay_offset: _Count
    retry_count: _Count


class _Kind(msgspec.Struct, rename="camel"):
    event_type: str


class _Note(msgspec.Struct):
    data: _NoteData


_header = msgspec.json.Decoder(_Header)
_kind = msgspec.json.Decoder(_Kind)
_note = msgspec.json.Decoder(_Note)


def replays_of(partition: int, step: Step) -> tuple[list[Replay], list[Finding]]:
    """The records of a step that say that they repeat another one."""
    found: list[Replay] = []
    faults: list[Finding] = []
    for offset, headers in zip(step.offset.tolist(), step.headers or (), strict=False):
        if HEADER not in headers:
            continue
        try:
            said = _header.decode(headers[HEADER] or b"")
        except msgspec.MsgspecError as error:
            sentence = f"topic {ACTIONS}, partition {partition}, offset {offset}: expected header {HEADER} to name an original, got {error}"
            faults.append(Finding(ACTIONS, "unreadable_replay", partition, offset, sentence))
        else:
            found.append(Replay((partition, offset), (said.partition, said.offset), said.retry_count))
    return found, faults


def notes_of(partition: int, step: Step) -> tuple[list[Note], list[Finding]]:
    """The notes of a step that tell of replays; those of quarantine are passed over."""
    found: list[Note] = []
    faults: list[Finding] = []
    for offset, value in zip(step.offset.tolist(), step.values, strict=True):
        try:
            if _kind.decode(value or b"").event_type != "DeadLetterReplayed":
                continue
            said = _note.decode(value or b"").data
        except msgspec.MsgspecError as error:
            sentence = f"topic {REPLAYS}, partition {partition}, offset {offset}: expected a note of a replay, got {error}"
            faults.append(Finding(REPLAYS, "unreadable_note", partition, offset, sentence))
            continue
        place, original = (said.replay_partition, said.replay_offset), (said.original_partition, said.original_offset)
        replay = Replay(place, original, said.retry_count)
        found.append(Note((partition, offset), (said.letter_partition, said.letter_offset), replay))
    return found, faults


def unmatched(replays: Sequence[Replay], notes: Sequence[Note]) -> Iterator[Finding]:
    """Replays without exactly one note that says the same, notes without such a replay, and letters that were sent more than once."""
    sent, noted, letters = set(replays), Counter(note.replay for note in notes), Counter(note.letter for note in notes)
    for replay in replays:
        if noted[replay] != 1:
            said = f"it is replay {replay.number} of {_spelt(replay.original)}; expected one note that says so, got {noted[replay]}"
            sentence = f"topic {ACTIONS}, partition {replay.place[0]}, offset {replay.place[1]}: {said}"
            yield Finding(ACTIONS, "replay_without_note", *replay.place, sentence)
    for note in notes:
        place, original, number = note.replay
        lies = f"topic {REPLAYS}, partition {note.lies_at[0]}, offset {note.lies_at[1]}"
        if note.replay not in sent:
            sentence = f"{lies}: expected {ACTIONS} {_spelt(place)} to be replay {number} of {_spelt(original)}, got no such record"
            yield Finding(REPLAYS, "note_without_replay", *note.lies_at, sentence)
        if letters[note.letter] > 1:
            said = f"expected the dead letter of {ACTIONS} {_spelt(note.letter)} to be sent again once, got {letters[note.letter]} notes"
            yield Finding(REPLAYS, "letter_sent_twice", *note.lies_at, f"{lies}: {said}")


def accepted_twice(replays: Sequence[Replay], accepted: Collection[Place]) -> Iterator[Finding]:
    """Originals of which more than one record of the chain, itself included, was answered by a prediction."""
    chains: dict[Place, set[Place]] = defaultdict(set)
    for replay in replays:
        chains[replay.original] |= {replay.original, replay.place}
    for original, places in sorted(chains.items()):
        if len(good := sorted(places & set(accepted))) > 1:
            said = f"expected at most one accepted record among it and its replays, got {', '.join(map(_spelt, good))}"
            sentence = f"topic {ACTIONS}, partition {original[0]}, offset {original[1]}: {said}"
            yield Finding(ACTIONS, "accepted_twice", *original, sentence)


def asked(replays: Sequence[Replay]) -> dict[int, set[int]]:
    """The offsets, by partition, of which it matters whether they were accepted."""
    found: dict[int, set[int]] = defaultdict(set)
    for replay in replays:
        for partition, offset in (replay.place, replay.original):
            found[partition].add(offset)
    return found


def _spelt(place: Place) -> str:
    return f"{place[0]}:{place[1]}"
