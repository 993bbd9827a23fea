"""Joined rows in any order and any batches come to what a replay in log order comes to."""

from __future__ import annotations

import copy
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from infra.config import load_settings
from jobs.archive_rows import archive_row
from jobs.findings import KEPT
from jobs.published_models import PublishedModels
from jobs.replay.joined import Coded, First, Group, Joined, outcome_of, replay_joined
from jobs.replay.published import COLUMNS, published
from jobs.replay.served import Outcome, Place, difference, replay_served
from jobs.scoring_parts import as_records, models_folder, rules
from tests.histories import Made, answered, log_of
from tests.integration.replay.conftest import some_rows
from tests.planted import changed, plant_each

RULES = rules()
_KINDS: dict[str, pa.DataType] = {
    "action_partition": pa.int32(),
    "action_offset": pa.int64(),
    "score": pa.float32(),
    "decision": pa.bool_(),
    "features": pa.list_(pa.float32()),
}
Row = dict[str, Any]


@dataclass(frozen=True)
class _Row:
    """One row of the join: places and numbers, the action's value and time, the prediction."""

    partition: int
    offset: int
    action: int
    prediction: int
    value: bytes | None
    kafka_ms: int
    columns: Row


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> PublishedModels:
    return PublishedModels(models_folder(load_settings({"STREAMHOUSE_STATE": str(tmp_path_factory.mktemp("state"))})))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Some actions, one in fifty bad, answered by two models in turn."""
    settings = load_settings({"STREAMHOUSE_STATE": str(tmp_path_factory.mktemp("state"))})
    return answered(settings, log_of(some_rows()[:700], seed=3), 4, {})


@pytest.fixture
def planted(made: Made) -> Made:
    """The same with each kind of difference, more changed scores than are told, and rows that the tables hold twice or not at all."""
    mine = copy.deepcopy(made)
    plant_each(mine, 100)
    for at in range(200, 200 + KEPT + 25):
        changed(score=0.5)(mine, at)
    changed(actionOffset=10_000_000)(mine, 300)  # a prediction without an action, and its action without one
    mine.topics["predictions"] += [replace(mine.topics["predictions"][at], _offset=20_000_000 + at) for at in (290, 300, 300)]
    mine.topics["user-actions"] += [mine.topics["user-actions"][at] for at in (13, 400)]
    del mine.topics["predictions"][310:330]
    return mine


def _predictions(made: Made) -> dict[int, list[Row]]:
    """By partition, in the order of their actions."""
    rows = [archive_row("predictions", one.value(), one.timestamp()[1], RULES.contract) for one in made.topics["predictions"]]
    there = sorted((row for row in rows if "action_offset" in row), key=lambda row: (row["action_partition"], row["action_offset"]))
    return {partition: list(some) for partition, some in groupby(there, key=lambda row: row["action_partition"])}


def _table(rows: Sequence[Row]) -> pa.Table:
    return pa.table({name: pa.array([row.get(name) for row in rows], _KINDS.get(name, pa.string())) for name in COLUMNS})


def in_log_order(made: Made, models: PublishedModels) -> Outcome:
    """What the replay in one process says, a partition at a time."""
    outcome, predictions = Outcome(), _predictions(made)
    for partition in sorted({one.partition() for one in made.topics["user-actions"]}):
        actions = sorted((one for one in made.topics["user-actions"] if one.partition() == partition), key=lambda one: one.offset())
        records, answers = as_records(actions), published(_table(predictions.get(partition, [])))  # type: ignore[arg-type]
        outcome.merge([replay_served(partition, records, RULES, answers, models.find, 1000)])
    return outcome


def _joined(made: Made) -> list[_Row]:
    """A full outer join, as the job's SQL makes it."""
    predictions: defaultdict[tuple[int, int], list[Row]] = defaultdict(list)
    for partition, rows in _predictions(made).items():
        for row in rows:
            predictions[partition, row["action_offset"]].append(row)
    seen: Counter[tuple[int, int]] = Counter()
    together = []
    for one in made.topics["user-actions"]:
        place = one.partition(), one.offset()
        seen[place] += 1
        answers = list(enumerate(predictions.pop(place, []) if seen[place] == 1 else [], start=1)) or [(0, {})]
        together += [_Row(*place, seen[place], number, one.value(), one.timestamp()[1], row) for number, row in answers]
    return together + [
        _Row(*place, 0, number, None, 0, row) for place, rows in predictions.items() for number, row in enumerate(rows, start=1)
    ]


def _batch(rows: Sequence[_Row]) -> Joined:
    def numbers(name: str) -> Any:
        return np.array([getattr(row, name) for row in rows], np.int64)

    places = {name: numbers(name) for name in ("partition", "offset", "action", "prediction", "kafka_ms")}
    return Joined(**places, values=[row.value for row in rows], predictions=_table([row.columns for row in rows]))


def _groups(rows: Sequence[_Row], coded: Coded) -> Iterator[Group]:
    """As the job's SQL counts them, but for what one batch alone knows."""
    for row, code, model, detail in zip(rows, coded.code, coded.model, coded.detail, strict=True):
        yield Group(row.partition, code, model, detail, 1, row.offset, row.offset)


@pytest.mark.parametrize(("seed", "size"), [(1, 1), (2, 3), (3, 40), (4, 10_000)])
def test_any_order_and_any_batches_come_to_the_same(planted: Made, models: PublishedModels, seed: int, size: int) -> None:
    expected = in_log_order(planted, models)
    assert expected.findings.counts["predictions", "score"] > KEPT
    assert {kind for _, kind in expected.findings.counts} >= {
        "score",
        "decision",
        "model",
        "features",
        "action_id",
        "user_id",
        "answers",
        "action",
    }
    rng, rows = random.Random(seed), _joined(planted)
    rng.shuffle(rows)
    workers, groups = [First(), First()], list[Group]()
    while rows:
        some, rows = rows[: (at := rng.randint(1, size))], rows[at:]
        groups += _groups(some, replay_joined(_batch(some), RULES, models.find, 7, rng.choice(workers)))
    rng.shuffle(groups)
    outcome = outcome_of(groups)
    assert (outcome.actions, outcome.refused, outcome.equal) == (expected.actions, expected.refused, expected.equal)
    assert outcome.models == expected.models
    assert outcome.last == expected.last
    assert {p: ranges.tolist() for p, ranges in outcome.unanswered.items()} == {p: r.tolist() for p, r in expected.unanswered.items()}
    assert outcome.findings.counts == expected.findings.counts
    assert sorted(outcome.findings.kept) == sorted(expected.findings.kept)


def test_a_sound_history_is_equal_in_every_row(made: Made, models: PublishedModels) -> None:
    rows = _joined(made)
    random.Random(5).shuffle(rows)
    coded = replay_joined(_batch(rows), RULES, models.find, 1000, First())
    assert set(coded.code) == {"equal", "refused"}
    assert Counter(coded.code)["equal"] == len(made.topics["predictions"])
    assert set(coded.detail) == {None}


def test_no_rows_are_no_codes(models: PublishedModels) -> None:
    assert replay_joined(_batch([]), RULES, models.find, 1, First()) == Coded([], [], [])
    assert outcome_of([]) == Outcome()


def test_of_each_field_the_first_in_the_log_are_told_whatever_comes_first() -> None:
    places = [(partition, offset) for partition in range(2) for offset in range(50)]
    random.Random(6).shuffle(places)
    first = First(kept=3)
    told = [p for p in places if first.tells(difference(Place(*p, "e", "u"), "score", 0, 1, "because"))]
    assert set(sorted(places)[:3]) <= set(told)
    assert len(told) < 40
    assert first.tells(difference(Place(1, 49, "e", "u"), "decision", 0, 1, "because"))
