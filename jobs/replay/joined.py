"""Actions joined with their predictions, rows in any order, replayed as served; and the counted rows as an outcome again. Pure.

A cluster joins a history far from where it is reported: each row leaves as a code to count by, and the first differences as they are.
"""

from __future__ import annotations

import heapq
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.findings import KEPT, Finding
from jobs.offset_ranges import NONE, joined
from jobs.records import Records, Rules
from jobs.replay.published import Published, published
from jobs.replay.served import Compared, Difference, Find, Outcome, compare_served

EQUAL, REFUSED, UNANSWERED = "equal", "refused", "unanswered"
_AND = "+"
_WITHOUT_PREDICTION = (REFUSED, UNANSWERED)


@dataclass(frozen=True)
class Joined:
    """n places of user-actions, each an action beside one of its predictions, or one of them alone.

    `partition`, `offset` (n,): the action's. `action`, `prediction` (n,): 1 for the first row that the history holds for the place, 2 for
    one more of them and so on, 0: none; only the first action of a place is joined with predictions. `values`, `kafka_ms` (n,): the
    action's. `predictions`: n rows of the table predictions, with `published.COLUMNS`.
    """

    partition: NDArray[np.int64]
    offset: NDArray[np.int64]
    action: NDArray[np.int64]
    prediction: NDArray[np.int64]
    values: list[bytes | None]
    kafka_ms: NDArray[np.int64]
    predictions: pa.Table


@dataclass(frozen=True)
class Coded:
    """What became of each of n rows. `code`: equal, refused or unanswered, and the fields that differ, with + between them.

    `model`: where a score was compared. `detail`: its differences as JSON, where they are told.
    """

    code: list[str]
    model: list[str | None]
    detail: list[str | None]


@dataclass(frozen=True)
class Group:
    """`count` rows of a partition with the same code, model and detail, their offsets from `first` to `last`.

    Unanswered ones are every action from the first to the last that the history holds.
    """

    partition: int
    code: str
    model: str | None
    detail: str | None
    count: int
    first: int
    last: int


class First:
    """Chooses the differences to tell: of each field those whose actions come first, as far as it has seen."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._told: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)

    def tells(self, difference: Difference) -> bool:
        """Whether fewer than so many of its field came before it in the log."""
        told, place = self._told[difference.kind], (-difference.partition, -(difference.offset or 0))
        if len(told) < self._kept:
            heapq.heappush(told, place)
            return True
        return heapq.heappushpop(told, place) != place


def replay_joined(rows: Joined, rules: Rules, find: Find, batch: int, first: First) -> Coded:
    """Compare rows of any partitions. `batch`: rows in one call of the model."""
    n = len(rows.values)
    coded = Coded([""] * n, [None] * n, [None] * n)
    for partition in np.unique(rows.partition).tolist():
        there = np.flatnonzero(rows.partition == partition)
        order = there[np.lexsort((rows.prediction[there], rows.action[there], rows.offset[there]))]
        _partition(coded, partition, rows, order, rules, find, batch, first)
    return coded


def _partition(
    coded: Coded, partition: int, rows: Joined, order: NDArray[np.int64], rules: Rules, find: Find, batch: int, first: First
) -> None:
    """`order`: the rows of the partition by offset, then actions, then predictions, each in their turn."""
    offset, action, number = rows.offset[order], rows.action[order], rows.prediction[order]
    # an action stands in as many rows as it has predictions, and an Arrow batch may begin with any of them
    begins = (action > 0) & np.r_[True, (offset[1:] != offset[:-1]) | (action[1:] != action[:-1])]
    record = np.cumsum(begins) - 1
    at = order[begins]
    values = [rows.values[i] for i in at.tolist()]
    records = Records([None] * len(at), values, rows.partition[at], rows.offset[at], rows.kafka_ms[at])
    answers = np.flatnonzero(number > 0)
    predictions = published(rows.predictions.take(pa.array(order[answers])))
    compared = compare_served(partition, records, rules, predictions, find, batch, first=number[answers] == 1)

    refused = np.zeros(len(at) + 1, bool)
    refused[list(compared.refused)] = True
    is_refused = (action > 0) & refused[record]
    for i, known, no, one in zip(order.tolist(), (action > 0).tolist(), is_refused.tolist(), number.tolist(), strict=True):
        if known and one <= 1:
            coded.code[i] = REFUSED if no else EQUAL if one else UNANSWERED
    names = ["@".join(identity[:2]) for identity in predictions.models]
    scored = (action > 0) & ~is_refused & (number == 1)
    for j in np.flatnonzero(scored[answers]).tolist():
        coded.model[order[answers[j]]] = names[predictions.model[j]]
    for i, differences in _by_row(compared, predictions, order[answers], number[answers]).items():
        codes = [coded.code[i]] if coded.code[i] not in ("", EQUAL) else []
        coded.code[i] = _AND.join(codes + [one.kind for one in differences])
        if told := [asdict(one) for one in differences if first.tells(one)]:
            coded.detail[i] = json.dumps(told)


def _by_row(compared: Compared, predictions: Published, rows: NDArray[np.int64], number: NDArray[np.int64]) -> dict[int, list[Difference]]:
    """Differences by the row of their prediction. `rows`, `number` (m,): of the m predictions."""
    if not compared.differences:
        return {}
    at: defaultdict[int, list[int]] = defaultdict(list)
    for j, offset in enumerate(predictions.offset.tolist()):
        at[offset].append(j)
    # each prediction without an action has one difference, and so has each after the first of an action
    every = {offset: iter(places) for offset, places in at.items()}
    again = {offset: iter([j for j in places if number[j] > 1]) for offset, places in at.items()}
    found: defaultdict[int, list[Difference]] = defaultdict(list)
    for one in compared.differences:
        offset = one.offset or 0
        j = next(every[offset]) if one.kind == "action" else next(again[offset]) if one.kind == "answers" else at[offset][0]
        found[int(rows[j])].append(one)
    return found


def outcome_of(groups: Iterable[Group], kept: int = KEPT) -> Outcome:
    """The outcome that the groups of all rows come to; of each field the first differences are told, as `First` chooses them."""
    outcome, told = Outcome(), list[Difference]()
    ranges: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for group in groups:
        codes = group.code.split(_AND)
        if group.model is not None or codes[0] in _WITHOUT_PREDICTION:
            outcome.actions += group.count
        if group.model is not None:
            outcome.models[group.model] += group.count
        outcome.refused += group.count * (codes[0] == REFUSED)
        outcome.equal += group.count * (codes[0] == EQUAL)
        if group.code not in _WITHOUT_PREDICTION:
            outcome.last[group.partition] = max(group.last, outcome.last.get(group.partition, -1))
        if codes[0] == UNANSWERED:
            ranges[group.partition].append((group.first, group.last + 1))
        for code in codes:
            if code not in (EQUAL, REFUSED, UNANSWERED):
                outcome.findings.counts["predictions", code] += group.count
        told += [Difference(**one) for one in json.loads(group.detail or "[]")]
    outcome.unanswered = {partition: joined(NONE, np.array(some, np.int64)) for partition, some in sorted(ranges.items())}
    outcome.findings.kept = _first_of_each(told, kept)
    return outcome


def _first_of_each(told: Sequence[Difference], kept: int) -> list[Finding]:
    of: defaultdict[str, list[Difference]] = defaultdict(list)
    for one in sorted(told, key=lambda one: (one.partition, one.offset or 0)):
        of[one.kind].append(one)
    return [one for some in of.values() for one in some[:kept]]
