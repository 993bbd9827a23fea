"""An order: what a customer may ask, which step it waits for and until when, and the one end that it comes to.

Each step is somebody else's. The order notes what they say of it, starts the next, and stops waiting at a deadline; from then on it only
winds down, whatever success still arrives, and is cancelled when nothing of it is paid any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from jobs.patterns.aggregate import Aggregate, Refused
from jobs.patterns.message import Message
from jobs.shop.messages import (
    CancelOrder,
    ExpireStep,
    Items,
    NoteStep,
    OrderCancelled,
    OrderCancelling,
    OrderPaid,
    OrderPlaced,
    OrderReserved,
    OrderShipped,
    PlaceOrder,
    Step,
)

MOST_ITEMS = 200
MOST_CENTS = 10**12
WAITS_FOR: dict[str, Step] = {"placed": "payment", "paid": "inventory", "reserved": "shipping"}
"""The step that an order of a status waits for."""
_BEFORE: dict[Step, Step] = {"inventory": "payment", "shipping": "inventory"}


@dataclass(frozen=True)
class Patience:
    """How long an order waits for each step, in milliseconds."""

    payment: int = 60_000
    inventory: int = 60_000
    shipping: int = 300_000


class Order(Struct, frozen=True):
    """`deadline`: until when (ms) it waits for the step that its status waits for."""

    status: Literal["new", "placed", "paid", "reserved", "cancelling", "shipped", "cancelled"] = "new"
    order_id: str = ""
    user_id: str = ""
    warehouse_id: str = ""
    items: Items = ()
    cents: int = 0
    deadline: int = 0
    reason: str = ""


def decide(patience: Patience, order: Order, command: Message, now_ms: int) -> Sequence[Message] | Refused:
    """What a command to an order leads to."""
    match command:
        case PlaceOrder():
            return _placed(patience, order, command, now_ms)
        case _ if order.status == "new":
            return Refused("unknown_order", f"there is no order {command.aggregate_id!r}")
        case CancelOrder(order_id, reason):
            if step := WAITS_FOR.get(order.status):
                return [OrderCancelling(order_id, order.user_id, order.warehouse_id, step, reason)]
            return Refused("too_late", f"the order is {order.status}; only one that is on its way can be cancelled")
        case NoteStep(_, step, "succeeded", _) if WAITS_FOR.get(order.status) == step:
            return [_went_on(patience, order, step, now_ms)]
        case NoteStep(order_id, "payment", "failed", reason) if order.status in ("placed", "cancelling"):
            return [OrderCancelled(order_id, order.user_id, order.reason or reason, 0)]
        # also before the order hears why: what it says of the payment and of the stock comes on two ways
        case NoteStep(order_id, "payment", "compensated", reason) if order.status not in ("shipped", "cancelled"):
            return [OrderCancelled(order_id, order.user_id, order.reason or reason, order.cents)]
        case NoteStep(order_id, step, "failed", reason) if WAITS_FOR.get(order.status) == step:
            return [OrderCancelling(order_id, order.user_id, order.warehouse_id, _BEFORE[step], reason)]
        case ExpireStep(order_id, step) if WAITS_FOR.get(order.status) == step and now_ms >= order.deadline:
            return [OrderCancelling(order_id, order.user_id, order.warehouse_id, step, f"{step} missed its deadline")]
    return []  # a late word: the order waits for something else by now


def _placed(patience: Patience, order: Order, command: PlaceOrder, now_ms: int) -> Sequence[Message] | Refused:
    if order.status != "new":
        return Refused("already_placed", f"order {command.order_id!r} was placed already")
    if not command.items:
        return Refused("no_items", "an order needs at least one item; items is empty")
    if len(command.items) > MOST_ITEMS:
        return Refused("too_many_items", f"an order has {MOST_ITEMS} lines at most, got {len(command.items)}")
    skus = [item.sku for item in command.items]
    if twice := next((sku for i, sku in enumerate(skus) if sku in skus[:i]), None):
        return Refused("repeated_item", f"sku {twice!r} stands in two lines; add up their quantities")
    cents = sum(item.quantity * item.unit_cents for item in command.items)
    if not 1 <= cents <= MOST_CENTS:
        return Refused("no_price", f"the items come to {cents} cents; expected from 1 to {MOST_CENTS}")
    about = (command.order_id, command.user_id, command.warehouse_id, command.items, cents)
    return [OrderPlaced(*about, now_ms + patience.payment, command.action_id)]


def _went_on(patience: Patience, order: Order, step: Step, now_ms: int) -> Message:
    about = (order.order_id, order.user_id, order.warehouse_id, order.items, order.cents)
    if step == "payment":
        return OrderPaid(*about, now_ms + patience.inventory)
    if step == "inventory":
        return OrderReserved(*about, now_ms + patience.shipping)
    return OrderShipped(order.order_id, order.user_id)


def evolve(order: Order, event: Message) -> Order:
    """What an event makes of an order."""
    match event:
        case OrderPlaced(order_id, user_id, warehouse_id, items, cents, deadline, _):
            return Order("placed", order_id, user_id, warehouse_id, items, cents, deadline)
        case OrderPaid():
            return replace(order, status="paid", deadline=event.deadline)
        case OrderReserved():
            return replace(order, status="reserved", deadline=event.deadline)
        case OrderCancelling():
            return replace(order, status="cancelling", reason=event.reason)
        case OrderShipped():
            return replace(order, status="shipped", items=())
        case OrderCancelled():
            return replace(order, status="cancelled", items=(), reason=event.reason)
    return order


def deadline(order: Order) -> tuple[int, Message] | None:
    """Until when an order waits, and what its owner tells it then."""
    step = WAITS_FOR.get(order.status)
    return None if step is None else (order.deadline, ExpireStep(order.order_id, step))


def order_aggregate(patience: Patience) -> Aggregate:
    """The aggregate, with how long its orders wait."""
    return Aggregate(
        "order",
        Order,
        (PlaceOrder, CancelOrder, NoteStep, ExpireStep),
        (OrderPlaced, OrderPaid, OrderReserved, OrderCancelling, OrderShipped, OrderCancelled),
        partial(decide, patience),
        evolve,
        deadline,
    )
