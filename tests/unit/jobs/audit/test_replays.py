from __future__ import annotations

import numpy as np
import orjson
import pyarrow as pa
import pytest

from jobs.audit.replays import HEADER, Note, Replay, accepted_twice, asked, notes_of, replays_of, unmatched
from jobs.audit.topic_log import Headers, Step

FIRST, AGAIN = Replay((1, 50), (1, 7), 1), Replay((1, 60), (1, 7), 2)
OTHER = Replay((2, 30), (2, 3), 1)


def note(replay: Replay, letter: tuple[int, int], offset: int = 0) -> Note:
    return Note((0, offset), letter, replay)


def step(values: list[bytes | None], headers: list[Headers] | None = None) -> Step:
    n = len(values)
    nothing = pa.array([None] * n, pa.large_binary())
    return Step(np.arange(10, 10 + n), np.zeros(n, np.int64), nothing, nothing, values, headers)


def test_a_chain_of_noted_replays_is_clean() -> None:
    notes = [note(FIRST, (1, 7)), note(AGAIN, (1, 50), 1), note(OTHER, (2, 3), 2)]
    assert list(unmatched([FIRST, AGAIN, OTHER], notes)) == []
    assert list(accepted_twice([FIRST, AGAIN, OTHER], {(1, 60), (2, 30)})) == []


@pytest.mark.parametrize(
    ("replays", "notes", "kinds"),
    [
        ([FIRST, OTHER], [note(FIRST, (1, 7))], ["replay_without_note"]),
        ([], [note(FIRST, (1, 7))], ["note_without_replay"]),
        ([FIRST], [note(FIRST._replace(number=2), (1, 7))], ["replay_without_note", "note_without_replay"]),
        ([FIRST], [note(FIRST, (1, 7)), note(FIRST, (1, 7))], ["replay_without_note", "letter_sent_twice", "letter_sent_twice"]),
        ([FIRST, AGAIN], [note(FIRST, (1, 7)), note(AGAIN, (1, 7))], ["letter_sent_twice", "letter_sent_twice"]),
    ],
)
def test_what_does_not_match_is_named(replays: list[Replay], notes: list[Note], kinds: list[str]) -> None:
    assert [finding.kind for finding in unmatched(replays, notes)] == kinds


def test_an_original_has_one_accepted_successor() -> None:
    (finding,) = accepted_twice([FIRST, AGAIN], {(1, 50), (1, 60), (9, 9)})
    assert (finding.partition, finding.offset) == (1, 7)
    assert "got 1:50, 1:60" in finding.sentence
    (finding,) = accepted_twice([OTHER], {(2, 3), (2, 30)})
    assert "got 2:3, 2:30" in finding.sentence
    assert asked([FIRST, OTHER]) == {1: {50, 7}, 2: {30, 3}}


def test_headers_and_notes_are_read_and_what_cannot_be_read_is_found() -> None:
    headers: list[Headers] = [{HEADER: orjson.dumps({"partition": 1, "offset": 7, "retryCount": 1})}, {}, {HEADER: b"{"}, {HEADER: None}]
    replays, faults = replays_of(1, step([b""] * 4, headers))
    assert replays == [Replay((1, 10), (1, 7), 1)]
    assert [(fault.kind, fault.offset) for fault in faults] == [("unreadable_replay", 12), ("unreadable_replay", 13)]
    assert replays_of(1, step([b""])) == ([], [])

    data = {"originalPartition": 1, "originalOffset": 7, "letterPartition": 1, "letterOffset": 7, "retryCount": 1}
    noted = {"eventType": "DeadLetterReplayed", "data": data | {"replayPartition": 1, "replayOffset": 50}}
    values = [orjson.dumps(noted), orjson.dumps({"eventType": "DeadLetterQuarantined", "data": data}), None]
    notes, faults = notes_of(0, step([*values, orjson.dumps(noted | {"data": data})]))
    assert notes == [Note((0, 10), (1, 7), FIRST)]
    assert [(fault.kind, fault.offset) for fault in faults] == [("unreadable_note", 12), ("unreadable_note", 13)]
