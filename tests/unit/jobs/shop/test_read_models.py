"""The folds of the shop's read models, against their definition, whatever batches and repetitions they meet."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from jobs.patterns.message import Codec, Envelope, encode
from jobs.patterns.projection import Projection, Row, changed, touched
from jobs.patterns.recorded import Recorded
from jobs.shop.messages import OrderPaid, OrderPlaced, OrderShipped
from jobs.shop.order_predictions import ORDER_PREDICTIONS, Model, Prediction
from jobs.shop.order_summaries import ORDER_SUMMARIES
from tests.order_events import Expected, expected_predictions, expected_summaries, lives, predictions_of, recorded, repeated

Held = list[dict[str, Row]]


def folded(projection: Projection, batches: Sequence[Sequence[Recorded]]) -> Held:
    """By table and key, the rows after these batches."""
    held: Held = [{} for _ in projection.parts]
    for batch in batches:
        for part, rows in zip(projection.parts, held, strict=True):
            for row in changed(part, rows, touched(part, batch)):
                rows[next(iter(row.values()))] = row
    return held


def cut(events: Sequence[Recorded], seed: int) -> list[Sequence[Recorded]]:
    """Batches of random sizes."""
    draw, found, start = random.Random(seed), [], 0
    while start < len(events):
        size = draw.randint(1, 40)
        found.append(events[start : start + size])
        start += size
    return found


def without_nul(expected: Expected) -> Expected:
    """As rows hold texts."""
    return {
        key: {name: value.replace("\0", "␀") if isinstance(value, str) else value for name, value in row.items()}
        for key, row in expected.items()
    }


@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(0, 10**6))
def test_summaries_equal_their_definition_over_repetitions_and_batches(seed: int, orders: int, batches: int) -> None:
    events = lives(seed, orders)
    held = folded(ORDER_SUMMARIES, cut(recorded(repeated(seed, events)), batches))
    assert held[0] == without_nul(expected_summaries(events))


@given(st.integers(0, 10**6), st.integers(1, 30))
def test_summaries_do_not_depend_on_how_orders_are_mixed(seed: int, orders: int) -> None:
    by_order = sorted(lives(seed, orders), key=lambda event: event.data.aggregate_id)
    assert folded(ORDER_SUMMARIES, [recorded(by_order)]) == folded(ORDER_SUMMARIES, cut(recorded(lives(seed, orders)), seed))


@given(st.integers(0, 10**6), st.integers(1, 30), st.randoms(use_true_random=False))
def test_halves_of_predictions_do_not_depend_on_which_came_first(seed: int, orders: int, draw: random.Random) -> None:
    events = lives(seed, orders)
    mixed = [*repeated(seed, events), *repeated(seed, predictions_of(seed, events))]
    draw.shuffle(mixed)
    placed, predicted = folded(ORDER_PREDICTIONS, cut(recorded(mixed), seed))
    none = dict.fromkeys(("score", "decision", "model_name", "model_version"))
    expected = expected_predictions(events + predictions_of(seed, events))
    assert placed.keys() == expected.keys()
    for key, row in expected.items():
        halves = {**placed[key], **predicted.get(row["action_id"], none)}
        assert {name: halves[name] for name in row} == row


def test_of_two_predictions_under_one_action_id_the_first_action_counts_whichever_comes_first() -> None:
    first, second = (_prediction(partition, offset, score) for partition, offset, score in ((1, 7, 0.25), (1, 9, 0.75)))
    for events in ([first, second], [second, first], [second, first, second]):
        assert folded(ORDER_PREDICTIONS, [recorded(events)])[1]["a"]["score"] == 0.25


def test_an_event_of_an_order_that_was_never_placed_makes_no_row() -> None:
    assert folded(ORDER_SUMMARIES, [recorded([_event(OrderShipped("o", "u"), 4)])]) == [{}]


def test_an_event_without_a_number_changes_nothing() -> None:
    placed = _event(OrderPlaced("o", "u", "w", (), 1, 9), 1)
    held = folded(ORDER_SUMMARIES, [recorded([placed, _event(OrderPaid("o", "u", "w", (), 1, 9), None)])])
    assert held[0]["o"]["status"] == "placed"


def test_a_prediction_is_read_from_the_whole_one() -> None:
    whole = {
        "eventType": "Prediction",
        "eventId": "5a3f0c11-0002-8000-8000-00000000002a",
        "timestamp": "2024-03-13T10:22:12.000Z",
        "version": 1,
        "source": "streamhouse/score-events",
        "correlationId": "s",
        "data": {
            "actionId": "7f9c2b1e-3d4a-4c5b-8e6f-0a1b2c3d4e5f",
            "actionPartition": 2,
            "actionOffset": 42,
            "userId": "user_0001",
            "score": 0,
            "decision": False,
            "model": {"name": "purchase_30m", "version": "1", "sha256": "ab" * 32},
            "features": [3.0, None],
            "rows": {},
            "flags": [],
        },
    }
    read = Codec([Prediction]).decode(orjson.dumps(whole))
    assert isinstance(read, Envelope)
    assert read.data == Prediction("user_0001", whole["data"]["actionId"], 2, 42, 0.0, False, Model("purchase_30m", "1"))  # type: ignore[index]
    assert Codec([Prediction]).decode(encode(read)[1]) == read


def _event(data: Any, number: int | None) -> Envelope:
    return Envelope("5a3f0c11-0002-8000-8000-00000000002a", 1_710_000_000_000, "tests", "c", data, None, number)


def _prediction(partition: int, offset: int, score: float) -> Envelope:
    return _event(Prediction("u", "a", partition, offset, score, True, Model("m", "1")), None)
