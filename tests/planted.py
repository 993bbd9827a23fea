"""Differences that are planted into a history that was answered: one of each field that a replay compares, and its cause."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson

from tests.histories import Made

OTHER = "00000000-0000-4000-8000-000000000000"

Change = Callable[[Made, int], Any]


def changed(**fields: Any) -> Change:
    """Other fields in the data of a prediction."""
    return edited(lambda data: data.update(fields))


def edited(change: Callable[[dict[str, Any]], None]) -> Change:
    def plant(made: Made, at: int) -> None:
        predictions = made.topics["predictions"]
        event = orjson.loads(predictions[at]._value or b"")
        change(event["data"])
        predictions[at] = replace(predictions[at], _value=orjson.dumps(event))

    return plant


def drop(made: Made, at: int) -> None:
    made.topics["predictions"][at] = replace(made.topics["predictions"][at], _value=b"nothing that names an action")


def double(made: Made, at: int) -> None:
    made.topics["predictions"].append(replace(made.topics["predictions"][at], _offset=10_000_000))


def spoil(made: Made, at: int) -> None:
    """The action of a prediction is another record now."""
    data = orjson.loads(made.topics["predictions"][at]._value or b"")["data"]
    actions = made.topics["user-actions"]
    i = next(i for i, a in enumerate(actions) if (a._partition, a._offset) == (data["actionPartition"], data["actionOffset"]))
    actions[i] = replace(actions[i], _value=b"spoilt")


CASES: dict[str, tuple[Change, str]] = {
    "score": (changed(score=0.123), "one of them was changed"),
    "decision": (edited(lambda data: data.update(decision=not data["decision"])), "the threshold of purchase_30m@1 is 0.2"),
    "model": (edited(lambda data: data["model"].update(sha256="0" * 64)), "the published file has"),
    "features": (edited(lambda data: data["features"].pop()), "takes 29 numbers"),
    "action_id": (changed(actionId=OTHER), "another than the action"),
    "user_id": (changed(userId="mallory"), "another than the action"),
    "answer": (drop, "neither a prediction nor a dead letter"),
    "answers": (double, "more than one prediction"),
    "action": (spoil, "invalid"),
}

Place = tuple[int, int, str, str]
"""Partition and offset of an action, its event and its user."""


def plant_each(made: Made, first: int) -> dict[str, Place]:
    """One difference of each field into the predictions from a place on, and the actions that they answer."""
    places = {}
    for number, (field, (plant, _)) in enumerate(CASES.items()):
        data = orjson.loads(made.topics["predictions"][first + number]._value or b"")["data"]
        places[field] = data["actionPartition"], data["actionOffset"], data["actionId"], data["userId"]
        plant(made, first + number)
    return places
