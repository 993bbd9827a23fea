"""Replay as served over real tables: all equal whatever the batches were, and each planted difference named."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from infra.config import Settings
from infra.errors import StreamhouseError
from jobs.replay.chosen import Chosen, chosen
from jobs.replay.history import pinned
from jobs.replay.run import Report, replay
from jobs.replay.served import Difference
from tests.histories import Kept, Made
from tests.integration.replay.conftest import ACTIONS, a_lake
from tests.lake import rewrite_records

OTHER = "00000000-0000-4000-8000-000000000000"


def replayed(settings: Settings, what: Chosen | None = None, batch: int = 20_000, hands: int = 0) -> Report:
    with pinned(settings, None, "replay-test") as history:
        return replay(settings, history, what or Chosen(), batch, hands=hands)


@pytest.mark.parametrize("batch", [1, 7, 20_000])
def test_every_score_comes_out_again_whatever_the_batches_were(settings: Settings, batch: int) -> None:
    report = replayed(settings, batch=batch)
    assert report.is_equal, report.outcome.findings.kept[:3]
    assert report.outcome.actions == ACTIONS
    assert report.outcome.refused == ACTIONS // 50
    assert report.outcome.equal == ACTIONS - ACTIONS // 50
    assert report.tail == report.dead_letters == 0


def test_processes_come_to_the_same(settings: Settings) -> None:
    assert replayed(settings, hands=2).outcome == replayed(settings).outcome


def test_what_was_chosen_is_replayed_alone(settings: Settings, made: tuple[Settings, Made]) -> None:
    day = orjson.loads(made[1].topics["predictions"][500]._value or b"")["timestamp"][:10]
    whole, of_day = replayed(settings), replayed(settings, chosen(day, f"{day}T23:59:59.999Z", []))
    assert 0 < of_day.outcome.equal < whole.outcome.equal
    assert of_day.is_equal
    on_day = [p for p in made[1].topics["predictions"] if day.encode() in orjson.loads(p._value or b"")["timestamp"].encode()]
    assert of_day.outcome.equal == len(on_day)
    by_offset = replayed(settings, chosen(None, None, ["0:10-109"]))
    there = [r for r in made[1].topics["user-actions"] if r._partition == 0 and 10 <= r._offset < 110]
    assert by_offset.outcome.actions == len(there)
    assert by_offset.is_equal
    with pytest.raises(StreamhouseError, match="the history holds"):
        replayed(settings, chosen(None, None, ["99:1-2"]))


def test_compaction_changes_nothing(made: tuple[Settings, Made], tmp_path: Path) -> None:
    settings = a_lake(tmp_path, made[1])
    before = replayed(settings).outcome
    for table in ("user_actions", "predictions"):
        rewrite_records(settings, table)
    assert replayed(settings).outcome == before


def changed(field: str, change: Callable[[dict[str, Any]], None]) -> Callable[[Made], Kept]:
    def plant(made: Made) -> Kept:
        predictions = made.topics["predictions"]
        event = orjson.loads(predictions[700]._value or b"")
        change(event["data"])
        predictions[700] = replace(predictions[700], _value=orjson.dumps(event))
        return predictions[700]

    return plant


def drop(made: Made) -> Kept:
    return made.topics["predictions"].pop(700)


def double(made: Made) -> Kept:
    predictions = made.topics["predictions"]
    predictions.append(replace(predictions[700], _offset=10_000_000))
    return predictions[700]


def spoil(made: Made) -> Kept:
    """The action of a prediction is another record now."""
    prediction = made.topics["predictions"][700]
    data = orjson.loads(prediction._value or b"")["data"]
    actions = made.topics["user-actions"]
    at = next(i for i, a in enumerate(actions) if (a._partition, a._offset) == (data["actionPartition"], data["actionOffset"]))
    actions[at] = replace(actions[at], _value=b"spoilt")
    return prediction


PLANTED: dict[str, tuple[Callable[[Made], Kept], str]] = {
    "score": (changed("score", lambda data: data.update(score=0.123)), "one of them was changed"),
    "decision": (changed("decision", lambda data: data.update(decision=not data["decision"])), "the threshold of purchase_30m@1 is 0.2"),
    "model": (changed("model", lambda data: data["model"].update(sha256="0" * 64)), "the published file has"),
    "features": (changed("features", lambda data: data["features"].pop()), "takes 29 numbers"),
    "action_id": (
        changed("action_id", lambda data: data.update(actionId=OTHER)),
        "another than the action",
    ),
    "user_id": (changed("user_id", lambda data: data.update(userId="mallory")), "another than the action"),
    "answer": (drop, "neither a prediction nor a dead letter"),
    "answers": (double, "more than one prediction"),
    "action": (spoil, "invalid"),
}


@pytest.mark.parametrize("field", PLANTED)
def test_one_planted_difference_is_named_with_its_event_field_and_cause(made: tuple[Settings, Made], tmp_path: Path, field: str) -> None:
    plant, cause = PLANTED[field]
    mine = copy.deepcopy(made[1])
    data = orjson.loads(plant(mine)._value or b"")["data"]
    report = replayed(a_lake(tmp_path, mine))
    (found,) = report.outcome.findings.kept
    assert isinstance(found, Difference)
    assert (found.kind, found.partition, found.offset) == (field, data["actionPartition"], data["actionOffset"])
    assert cause in found.cause
    assert found.cause in found.sentence
    if field not in ("answer", "action_id"):
        assert found.event_id == data["actionId"]
    before = ACTIONS - ACTIONS // 50
    assert report.outcome.equal == (before if field == "answers" else before - 1)


def test_a_changed_feature_changes_the_score(made: tuple[Settings, Made], tmp_path: Path) -> None:
    mine = copy.deepcopy(made[1])
    changed("features", lambda data: data.update(features=[data["features"][0] + 50, *data["features"][1:]]))(mine)
    report = replayed(a_lake(tmp_path, mine))
    assert [found.kind for found in report.outcome.findings.kept] == ["score"]
