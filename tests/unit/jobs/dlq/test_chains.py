"""From letters and notes to what became of each, to groups, and to what is sent: each letter once, and at most so often."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from jobs.dlq.chains import State, Wanted, chained, choose, groups, is_spent, story
from jobs.dlq.letters import Letter, Place
from jobs.dlq.notes import Note


def a_letter(place: Place, reason: str = "missing_field", step: str = "decode", version: str = "1", failed_ms: int = 0) -> Letter:
    return Letter(place, (0, place[1]), step, reason, version, "a sentence", failed_ms)


FIRST, SECOND, THIRD = (1, 7), (1, 90), (3, 41)
SENT = Note(FIRST, FIRST, SECOND, 1)
SENT_AGAIN = Note(FIRST, SECOND, THIRD, 2)
HELD = Note(FIRST, THIRD, None, 2)


def test_a_letter_without_a_note_is_open() -> None:
    chains = chained([a_letter(FIRST)], [])
    assert chains.state(FIRST) == State.OPEN
    assert (chains.original(FIRST), chains.retries(FIRST)) == (FIRST, 0)


def test_a_chain_is_followed_from_letter_to_letter() -> None:
    chains = chained([a_letter(FIRST), a_letter(SECOND), a_letter(THIRD)], [SENT, SENT_AGAIN, HELD])
    assert [chains.state(place) for place in (FIRST, SECOND, THIRD)] == [State.REFUSED, State.REFUSED, State.QUARANTINED]
    assert [chains.retries(place) for place in (FIRST, SECOND, THIRD)] == [0, 1, 2]
    assert {chains.original(place) for place in (FIRST, SECOND, THIRD)} == {FIRST}
    for place in (FIRST, SECOND, THIRD):
        assert story(chains, place) == [FIRST, SECOND, THIRD]


def test_a_replay_is_accepted_once_its_prediction_is_known() -> None:
    chains = chained([a_letter(FIRST)], [SENT])
    assert chains.state(FIRST) == State.UNANSWERED
    assert chains.unanswered() == {SECOND: SENT}
    chains = replace(chains, accepted=frozenset({SECOND}))
    assert chains.state(FIRST) == State.ACCEPTED
    assert chains.unanswered() == {}
    assert story(chains, SECOND) == [FIRST, SECOND]


def test_a_quarantined_letter_that_was_sent_all_the_same_is_a_sent_one() -> None:
    chains = chained([a_letter(FIRST)], [Note(FIRST, FIRST, None, 0), SENT])
    assert chains.state(FIRST) == State.UNANSWERED


def test_of_two_notes_about_a_letter_the_first_counts() -> None:
    chains = chained([a_letter(FIRST)], [SENT, replace(SENT, replay=THIRD)])
    assert chains.replayed[FIRST].replay == SECOND


def test_a_chain_whose_first_letter_is_gone_is_told_from_its_notes() -> None:
    chains = chained([a_letter(SECOND)], [SENT])
    assert (chains.state(SECOND), chains.original(SECOND), chains.retries(SECOND)) == (State.OPEN, FIRST, 1)
    assert story(chains, SECOND) == [FIRST, SECOND]


def test_nothing_is_told_of_a_record_that_no_letter_and_no_note_knows() -> None:
    assert story(chained([a_letter(FIRST)], [SENT]), (0, 0)) == []


def test_notes_that_go_in_a_circle_end() -> None:
    assert story(chained([a_letter(FIRST)], [SENT, Note(FIRST, SECOND, FIRST, 2)]), FIRST) in ([FIRST, SECOND], [FIRST])


def test_open_letters_are_grouped_by_step_reason_and_version() -> None:
    letters = [
        a_letter((0, 1), failed_ms=30),
        a_letter((0, 2), failed_ms=10),
        a_letter((0, 3), version="2", failed_ms=5),
        a_letter((0, 4), reason="invalid_value", step="validate"),
        a_letter(FIRST, failed_ms=99),
    ]
    found = groups(chained(letters, [SENT]))
    assert [(g.step, g.reason, g.version, g.count) for g in found] == [
        ("decode", "missing_field", "1", 2),
        ("decode", "missing_field", "2", 1),
        ("validate", "invalid_value", "1", 1),
    ]
    assert (found[0].first_ms, found[0].last_ms, found[0].example) == (10, 30, (0, 1))


LETTERS = [
    a_letter((0, 1), "missing_field", "decode", "1", 40),
    a_letter((0, 2), "unknown_version", "validate", "2", 30),
    a_letter((0, 3), "unknown_version", "validate", "3", 20),
    a_letter((1, 4), "wrong_partition", "validate", "1", 10),
    a_letter(FIRST),
    a_letter(SECOND),
]
CHOICES = {
    "all, the oldest first": (Wanted(), [(1, 4), (0, 3), (0, 2), (0, 1)]),
    "a reason": (Wanted(reason="unknown_version"), [(0, 3), (0, 2)]),
    "a reason and a version": (Wanted(reason="unknown_version", version="2"), [(0, 2)]),
    "a step": (Wanted(step="decode"), [(0, 1)]),
    "places": (Wanted(places=frozenset({(0, 1), (1, 4), FIRST, SECOND})), [(1, 4), (0, 1)]),
    "places and a step": (Wanted(places=frozenset({(0, 1), (1, 4)}), step="decode"), [(0, 1)]),
    "the oldest two": (Wanted(limit=2), [(1, 4), (0, 3)]),
    "quarantined too": (Wanted(places=frozenset({FIRST, SECOND}), quarantined=True), [SECOND]),
    "nothing": (Wanted(reason="tombstone"), []),
}


@pytest.mark.parametrize(("wanted", "expected"), CHOICES.values(), ids=CHOICES)
def test_what_is_chosen(wanted: Wanted, expected: list[Place]) -> None:
    chains = chained(LETTERS, [SENT, replace(SENT_AGAIN, replay=None)])
    assert [letter.place for letter in choose(chains, wanted)] == expected


@pytest.mark.parametrize(("retries", "quarantined", "spent"), [(2, False, False), (3, False, True), (4, False, True), (4, True, False)])
def test_the_cap_on_replays(retries: int, quarantined: bool, spent: bool) -> None:
    chains = chained([a_letter(SECOND)], [replace(SENT, retry_count=retries)])
    assert is_spent(chains, SECOND, 3, Wanted(quarantined=quarantined)) == spent


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_sent_refused_and_held_a_letter_is_chosen_once_and_a_chain_never_forks(seed: int) -> None:
    """Rounds of choosing and sending against a path that refuses at random: the choice sees letters and notes alone."""
    rng, end = random.Random(seed), 20
    letters, notes = [a_letter((0, offset)) for offset in range(end)], list[Note]()
    chosen: list[Place] = []
    for _ in range(12):
        chains = chained(rng.sample(letters, len(letters)), notes)
        for letter in choose(chains, Wanted(limit=rng.randint(1, 10))):
            chosen.append(letter.place)
            original, retries = chains.original(letter.place), chains.retries(letter.place)
            if is_spent(chains, letter.place, 3, Wanted()):
                notes.append(Note(original, letter.place, None, retries))
                continue
            notes.append(Note(original, letter.place, (0, end), retries + 1))
            letters += [a_letter((0, end))] if rng.random() < 0.7 else []
            end += 1
    assert len(chosen) == len(set(chosen))
    chains = chained(letters, notes)
    for offset in range(20):
        links = story(chains, (0, offset))
        assert len(links) <= 4
        assert [chains.retries(link) for link in links] == list(range(len(links)))
        assert all(chains.state(link) == State.REFUSED for link in links[:-1] if link in chains.letters and links[-1] in chains.letters)
