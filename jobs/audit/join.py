"""Actions beside their answers, pure: a bucket of offsets of one partition at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from jobs.audit.pins import ACTIONS, ANSWER_NAME, LETTERS, PREDICTIONS
from jobs.audit.spill import Rows
from jobs.findings import Finding, Findings

_NAMED = 10_000


@dataclass(frozen=True)
class Expect:
    """What one action partition should hold. Actions from `tail_from` on may be unanswered; of actions below `answers_known_from` the
    answers, and of offsets below `actions_known_from` the actions, may be gone with retention.
    """

    partition: int
    tail_from: int
    answers_known_from: int
    actions_known_from: int


@dataclass
class Joined:
    """What joining came to: findings, counts, and of `asked` offsets those with a prediction."""

    partition: int
    findings: Findings = field(default_factory=Findings)
    predicted: int = 0
    refused: int = 0
    tail: int = 0
    unproven: list[int] = field(default_factory=list)
    """First, last and number of actions whose answers may be gone."""
    accepted: set[int] = field(default_factory=set)
    missing: list[int] = field(default_factory=list)
    """Actions without an answer, a bounded number; more of them are among the findings."""


def join(expect: Expect, actions: Rows, answers: Mapping[str, Rows], asked: frozenset[int] = frozenset()) -> Joined:
    """Whether each action has one answer, each answer an action, each prediction the action that it names, each letter its record."""
    joined, partition = Joined(expect.partition), expect.partition
    joined.predicted, joined.refused = len(answers[PREDICTIONS]), len(answers[LETTERS])
    every = np.concatenate([answers[PREDICTIONS], answers[LETTERS]])
    topic = np.repeat([PREDICTIONS, LETTERS], [joined.predicted, joined.refused])
    order = np.lexsort((every["lies_at"], every["offset"]))
    every, topic = every[order], topic[order]
    offsets = actions["offset"]

    unanswered = offsets[~np.isin(offsets, every["offset"])]
    joined.tail = int((unanswered >= expect.tail_from).sum())
    unanswered = unanswered[unanswered < expect.tail_from]
    gone = unanswered[unanswered < expect.answers_known_from]
    joined.unproven = [int(gone[0]), int(gone[-1]), len(gone)] if len(gone) else []
    missing = unanswered[unanswered >= expect.answers_known_from].tolist()
    joined.missing = missing[:_NAMED]
    for offset in missing[_NAMED:]:
        joined.findings.add(unanswered_action((partition, offset)))

    twice, first, count = np.unique(every["offset"], return_index=True, return_counts=True)
    for i in np.flatnonzero(count > 1).tolist():
        places = ", ".join(_place(str(topic[j]), every[j]) for j in range(first[i], first[i] + min(int(count[i]), 4)))
        sentence = f"topic {ACTIONS}, partition {partition}, offset {twice[i]}: expected one answer, got {count[i]}: {places}"
        joined.findings.add(Finding(ACTIONS, "answered_twice", partition, int(twice[i]), sentence))

    there = np.isin(every["offset"], offsets)
    for j in np.flatnonzero(~there & (every["offset"] >= expect.actions_known_from)).tolist():
        name = str(topic[j])
        sentence = f"{_place(name, every[j])}: it answers {ACTIONS} {partition}:{every[j]['offset']}, where no action lies"
        kind = f"{ANSWER_NAME[name].replace(' ', '_')}_without_action"
        joined.findings.add(Finding(name, kind, int(every[j]["partition"]), int(every[j]["lies_at"]), sentence))

    _identities(joined, expect, actions, every, topic, there)
    _held(joined, expect, actions, every, topic, there)
    if asked:
        joined.accepted = set(asked) & set(answers[PREDICTIONS]["offset"].tolist())
    return joined


def unanswered_action(place: tuple[int, int]) -> Finding:
    """An action that nothing answers."""
    sentence = f"topic {ACTIONS}, partition {place[0]}, offset {place[1]}: expected one answer, got none"
    return Finding(ACTIONS, "unanswered", *place, sentence)


def _identities(joined: Joined, expect: Expect, actions: Rows, every: Rows, topic: NDArray[np.str_], there: NDArray[np.bool_]) -> None:
    at = np.flatnonzero(there & (topic == PREDICTIONS))
    acted = actions["identity"][np.searchsorted(actions["offset"], every["offset"][at])]
    for j in at[acted != every["identity"][at]].tolist():
        row = every[j]
        sentence = (
            f"{_place(PREDICTIONS, row)}: event id and user are not those of the action that it answers,"
            f" {ACTIONS} {expect.partition}:{row['offset']}"
        )
        joined.findings.add(Finding(PREDICTIONS, "other_action", int(row["partition"]), int(row["lies_at"]), sentence))


def _held(joined: Joined, expect: Expect, actions: Rows, every: Rows, topic: NDArray[np.str_], there: NDArray[np.bool_]) -> None:
    at = np.flatnonzero(there & (topic == LETTERS))
    acted, said = actions[np.searchsorted(actions["offset"], every["offset"][at])], every[at]
    differs = (said["value"] != 0) & (said["value"] != acted["value"]) | (said["key"] != 0) & (said["key"] != acted["key"])
    for row in said[differs]:
        sentence = (
            f"{_place(LETTERS, row)}: key and value that it holds are not those of the record that it answers,"
            f" {ACTIONS} {expect.partition}:{row['offset']}"
        )
        joined.findings.add(Finding(LETTERS, "other_record", int(row["partition"]), int(row["lies_at"]), sentence))


def _place(topic: str, row: np.void) -> str:
    return f"{ANSWER_NAME[topic]} in {topic}, partition {row['partition']}, offset {row['lies_at']}"
