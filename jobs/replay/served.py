"""Archived actions through the scoring path again with the features that their predictions carry, and what comes out otherwise. Pure.

records -> decode, validate -> the prediction's own features and model -> score -> equal to the bit, or named
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray

from infra.contracts.events import Rejected
from jobs.findings import Finding, Findings
from jobs.offset_ranges import NONE, Ranges, joined, of_offsets
from jobs.published_models import Identity
from jobs.records import Records, Rules
from jobs.replay.published import Published
from jobs.scoring_path import Accepted, Model, accept, score

T = TypeVar("T")
Find = Callable[[Identity], Model | str]
"""The model that a prediction names, or why there is none."""


@dataclass(frozen=True, order=True)
class Difference(Finding):
    """What one prediction says and what comes out again. `kind` is the field; `partition` and `offset` are the action's."""

    event_id: str = ""
    user_id: str = ""
    published: str = ""
    replayed: str = ""
    cause: str = ""


@dataclass(frozen=True)
class Place:
    """Which action: where it lies, and what its prediction calls it."""

    partition: int
    offset: int
    event_id: str
    user_id: str


@dataclass
class Outcome:
    """What a part of the history came to. By partition: `unanswered`, accepted actions without a prediction; `last`, the last with one."""

    actions: int = 0
    refused: int = 0
    equal: int = 0
    models: Counter[str] = field(default_factory=Counter)
    unanswered: dict[int, Ranges] = field(default_factory=dict)
    last: dict[int, int] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)

    def merge(self, others: Sequence[Outcome]) -> None:
        """Take over other parts."""
        for other in others:
            self.actions += other.actions
            self.refused += other.refused
            self.equal += other.equal
            self.models.update(other.models)
            self.findings.merge([other.findings])
            for partition, offset in other.last.items():
                self.last[partition] = max(offset, self.last.get(partition, -1))
            for partition, ranges in other.unanswered.items():
                self.unanswered[partition] = joined(self.unanswered.get(partition, NONE), ranges)


def difference(place: Place, what: str, published: object, replayed: object, cause: str) -> Difference:
    """A difference with its sentence."""
    sentence = (
        f"action {place.partition}:{place.offset}, event {place.event_id} of user {place.user_id}: {what}: published {published},"
        f" replayed {replayed}; {cause}"
    )
    return Difference(
        "predictions",
        what,
        place.partition,
        place.offset,
        sentence,
        place.event_id,
        place.user_id,
        str(published),
        str(replayed),
        cause,
    )


@dataclass(frozen=True)
class Compared:
    """What one stretch of a partition came to: `refused` by position among the records, all `differences` in the order of their actions."""

    outcome: Outcome
    refused: dict[int, Rejected]
    differences: list[Difference]


def replay_served(partition: int, records: Records, rules: Rules, predictions: Published, find: Find, batch: int) -> Outcome:
    """Compare one stretch of a partition: every record of it, and every prediction for one of them.

    `batch`: rows in one call of the model.
    """
    compared = compare_served(partition, records, rules, predictions, find, batch)
    compared.outcome.findings.extend(compared.differences)
    return compared.outcome


def compare_served(
    partition: int,
    records: Records,
    rules: Rules,
    predictions: Published,
    find: Find,
    batch: int,
    first: NDArray[np.bool_] | None = None,
) -> Compared:
    """The same, with every difference, however many there are; the outcome holds none of them.

    `first` (m,): for each prediction whether no other answers its action before it; by default those of the stretch say it.
    """
    accepted, refused = accept(records, rules)
    outcome = Outcome(len(records.values), len(refused))
    offset = accepted.offset
    at = np.searchsorted(offset, predictions.offset)
    known = at < len(offset)
    known[known] = offset[at[known]] == predictions.offset[known]
    if first is None:
        first = np.r_[True, predictions.offset[1:] != predictions.offset[:-1]][: len(predictions.offset)]
    why = {int(records.offset[position]): rejected for position, rejected in refused.items()}
    found = list(_strangers(partition, why, predictions, np.flatnonzero(~known)))
    found += _twice(partition, predictions, np.flatnonzero(known & ~first))
    if len(predictions.offset):
        outcome.last[partition] = int(predictions.offset[-1])
    answered = np.zeros(len(offset), bool)
    answered[at[known]] = True
    if not answered.all():
        outcome.unanswered[partition] = of_offsets(offset[~answered])

    compared = np.flatnonzero(known & first)
    wrong = np.zeros(len(predictions.offset), bool)
    told = list(_others(partition, accepted, at, predictions, compared))
    for identity, rows in predictions.by_model(compared):
        outcome.models["@".join(identity[:2])] += len(rows)
        told += _scored(partition, predictions, rows, identity, find(identity), batch)
    wrong[np.searchsorted(predictions.offset, [one.offset or 0 for one in told])] = True
    outcome.equal = len(compared) - int(wrong.sum())
    return Compared(outcome, refused, sorted(found + told, key=lambda one: one.offset or 0))


def _scored(
    partition: int, predictions: Published, rows: NDArray[np.int64], identity: Identity, model: Model | str, batch: int
) -> Iterator[Difference]:
    """Scores and decisions that do not come out again."""
    name = "@".join(identity[:2])

    def differs(i: int, what: str, published: object, replayed: object, cause: str) -> Difference:
        return difference(_place(partition, predictions, i), what, published, replayed, cause)

    if isinstance(model, str):
        for i in rows.tolist():
            yield differs(i, "model", f"{name} {identity[2][:12]}", "no such model", model)
        return
    x, usable = predictions.inputs(rows, model.width)
    for i in rows[~usable].tolist():
        got = predictions.features[i].as_py()
        cause = f"model {name} takes {model.width} numbers"
        yield differs(i, "features", f"{len(got or ())} values", f"{model.width} values", cause)
    rows, x = rows[usable], x[usable] if not usable.all() else x
    for start in range(0, len(rows), batch):
        some = rows[start : start + batch]
        scores, decisions = score(x[start : start + batch], model)
        said = predictions.score[some]
        for j in np.flatnonzero(~model.agrees(said, scores)).tolist():
            cause = f"features and model {name} of the prediction give another score: one of them was changed after scoring"
            yield differs(int(some[j]), "score", said[j], scores[j], cause)
        for j in np.flatnonzero(predictions.decision[some] != decisions).tolist():
            cause = f"the threshold of {name} is {model.threshold}"
            yield differs(int(some[j]), "decision", bool(predictions.decision[some[j]]), bool(decisions[j]), cause)


def _others(
    partition: int, accepted: Accepted, at: NDArray[np.int64], predictions: Published, compared: NDArray[np.int64]
) -> Iterator[Difference]:
    """Predictions that name another event or user than the action's own."""
    events = _picked(accepted.events, at[compared])
    users = [event.data.user_id for event in events]
    said, said_users = _picked(predictions.action_id, compared), _picked(predictions.user_id, compared)
    # a text of each id takes as long as to decode half an event, one text of them all next to nothing
    if users == said_users and orjson.dumps([event.event_id for event in events]) == orjson.dumps(said):
        return
    there = [str(event.event_id) for event in events]
    for i, event_id, user_id, said_id, said_user in zip(compared.tolist(), there, users, said, said_users, strict=True):
        if said_id != event_id or said_user != user_id:
            place = Place(partition, int(predictions.offset[i]), event_id, user_id)
            cause = "the prediction names another than the action that lies at this offset"
            what, told, is_so = ("action_id", said_id, event_id) if said_id != event_id else ("user_id", said_user, user_id)
            yield difference(place, what, told, is_so, cause)


def _picked(of: list[T], at: NDArray[np.int64]) -> list[T]:
    """Those at the ascending places; all of them, as a rule."""
    return of if len(at) == len(of) else [of[i] for i in at.tolist()]


def _strangers(partition: int, why: dict[int, Rejected], predictions: Published, strangers: NDArray[np.int64]) -> Iterator[Difference]:
    """Predictions for records that are refused now, `why` by offset, or that are not there."""
    for i in strangers.tolist():
        place = _place(partition, predictions, i)
        reason = why.get(place.offset)
        replayed = "no such record" if reason is None else f"refused as {reason.reason}"
        cause = "the archive holds no action at this offset" if reason is None else reason.message
        yield difference(place, "action", f"a prediction of {predictions.score[i]}", replayed, cause)


def _twice(partition: int, predictions: Published, again: NDArray[np.int64]) -> Iterator[Difference]:
    for i in again.tolist():
        yield difference(_place(partition, predictions, i), "answers", "another", "one", "the action has more than one prediction")


def _place(partition: int, predictions: Published, i: int) -> Place:
    return Place(partition, int(predictions.offset[i]), predictions.action_id[i], predictions.user_id[i])
