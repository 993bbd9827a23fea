"""Random lives of orders as their owner's service records them, and what the read models must say of them, by definition."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from jobs.patterns.message import Envelope, Message
from jobs.patterns.recorded import Recorded
from jobs.shop.messages import Item, OrderCancelled, OrderCancelling, OrderPaid, OrderPlaced, OrderReserved, OrderShipped
from jobs.shop.order_predictions import Model, Prediction

_START = 1_710_000_000_000
_STATUS = {
    "OrderPlaced": "placed",
    "OrderPaid": "paid",
    "OrderReserved": "reserved",
    "OrderCancelling": "cancelling",
    "OrderShipped": "shipped",
    "OrderCancelled": "cancelled",
}
Expected = dict[str, dict[str, Any]]


def lives(seed: int, orders: int, first: int = 0) -> list[Envelope]:
    """Events of so many orders, mixed at random; those of one order are in their order and numbered."""
    draw = random.Random(seed)
    waiting = [_life(draw, f"order-{number:05d}") for number in range(first, first + orders)]
    found = []
    while waiting:
        i = draw.randrange(len(waiting))
        found.append(waiting[i].pop(0))
        if not waiting[i]:
            waiting[i] = waiting[-1]
            waiting.pop()
    return found


def predictions_of(seed: int, events: Iterable[Envelope]) -> list[Envelope]:
    """Predictions of most of the actions that led to orders, and of some that led to none."""
    draw = random.Random(seed)
    actions = [(e.data.user_id, e.data.action_id) for e in events if isinstance(e.data, OrderPlaced) and e.data.action_id]
    chosen = [action for action in actions if draw.random() < 0.8]
    chosen += [(f"user-{draw.randrange(9)}", _uuid(draw)) for _ in range(len(actions) // 3)]
    draw.shuffle(chosen)
    return [
        _envelope(
            draw,
            Prediction(user, str(action), draw.randrange(4), offset, draw.random(), draw.random() < 0.5, Model("purchase_30m", "1")),
            None,
        )
        for offset, (user, action) in enumerate(chosen)
    ]


def repeated(seed: int, events: Sequence[Envelope]) -> list[Envelope]:
    """The same with repetitions: single ones and whole stretches come again later, as a sender sends them that heard no answer."""
    draw = random.Random(seed)
    found = list[Envelope]()
    for event in events:
        found.append(event)
        if draw.random() < 0.2:
            found += found[-draw.randint(1, 30) :]
    return found


def recorded(events: Iterable[Envelope], topic: str = "orders") -> list[Recorded]:
    """Events where they would lie in one partition."""
    return [Recorded(event, topic, 0, offset, event.at) for offset, event in enumerate(events)]


def expected_summaries(events: Iterable[Envelope]) -> Expected:
    """By order, the row of `order_summaries`, from its events alone."""
    by_order = dict[str, dict[int, Envelope]]()
    for event in events:
        if event.type in _STATUS:
            by_order.setdefault(event.data.aggregate_id, {})[event.aggregate_version or 0] = event
    found = Expected()
    for order, numbered in by_order.items():
        history = [numbered[number] for number in sorted(numbered)]
        placed, last = history[0], history[-1]
        assert isinstance(placed.data, OrderPlaced)
        reasons = [e.data.reason for e in history if isinstance(e.data, OrderCancelling | OrderCancelled)]
        found[order] = {
            "order_id": order,
            "user_id": placed.data.user_id,
            "warehouse_id": placed.data.warehouse_id,
            "status": _STATUS[last.type],
            "total_cents": placed.data.cents,
            "item_count": sum(item.quantity for item in placed.data.items),
            "refunded_cents": last.data.refunded_cents if isinstance(last.data, OrderCancelled) else 0,
            "reason": reasons[-1] if reasons else None,
            "version": len(history),
            "placed_at": _time(placed),
            "updated_at": _time(last),
            "closed_at": _time(last) if isinstance(last.data, OrderShipped | OrderCancelled) else None,
        }
    return found


def expected_predictions(events: Iterable[Envelope]) -> Expected:
    """By order, the row of `order_predictions`, from a look through all events."""
    known = list(events)
    predictions = [event.data for event in known if isinstance(event.data, Prediction)]
    first = sorted(predictions, key=lambda data: (data.action_partition, data.action_offset), reverse=True)
    said = {data.action_id: data for data in first}  # of two for one action that whose action lies first
    found = Expected()
    for event in known:
        data = event.data
        if isinstance(data, OrderPlaced) and data.action_id:
            answer = said.get(data.action_id)
            found[data.order_id] = {
                "order_id": data.order_id,
                "action_id": data.action_id,
                "user_id": data.user_id,
                "total_cents": data.cents,
                "placed_at": _time(event),
                "score": answer.score if answer else None,
                "decision": answer.decision if answer else None,
                "model_name": answer.model.name if answer else None,
                "model_version": answer.model.version if answer else None,
            }
    return found


def _life(draw: random.Random, order: str) -> list[Envelope]:
    user, warehouse = f"user-{draw.randrange(9)}", f"warehouse-{draw.randrange(3)}"
    items = tuple(Item(f"sku-{draw.randrange(99)}", draw.randint(1, 5), draw.randint(0, 9_999)) for _ in range(draw.randint(1, 4)))
    cents = max(1, sum(item.quantity * item.unit_cents for item in items))
    deadline = _START + draw.randrange(10**9)
    action = _uuid(draw) if draw.random() < 0.7 else None
    good: list[Message] = [
        OrderPlaced(order, user, warehouse, items, cents, deadline, action),
        OrderPaid(order, user, warehouse, items, cents, deadline),
        OrderReserved(order, user, warehouse, items, cents, deadline),
        OrderShipped(order, user),
    ]
    bad: list[Message] = [
        OrderCancelling(order, user, warehouse, "payment", "too late\0" if draw.random() < 0.1 else "no stock – sorry"),
        OrderCancelled(order, user, "no stock", draw.choice([0, cents])),
    ]
    life = good[: draw.randint(1, 4)]
    if not isinstance(life[-1], OrderShipped) and draw.random() < 0.5:
        life += bad[: draw.randint(1, 2)]
    return [_envelope(draw, data, number) for number, data in enumerate(life, 1)]


def _envelope(draw: random.Random, data: Message, number: int | None) -> Envelope:
    return Envelope(_uuid(draw), _START + draw.randrange(10**10), "tests", "order", data, None, number)


def _uuid(draw: random.Random) -> str:
    return str(uuid.UUID(int=draw.getrandbits(128), version=4))


def _time(event: Envelope) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=event.at)
