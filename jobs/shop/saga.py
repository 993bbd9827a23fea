"""The order saga by choreography: what each service does about the others' events. Nobody directs it.

```
OrderPlaced -> PaymentProcessed -> OrderPaid -> InventoryReserved -> OrderReserved -> ParcelDispatched -> OrderShipped
    |                                  |                                 |
    +-> PaymentFailed                  +-> InventoryFailed               +-> ShippingFailed | ParcelRecalled
          -> OrderCancelled                  -> PaymentRefunded                -> InventoryReleased -> PaymentRefunded
                                             -> OrderCancelled                 -> OrderCancelled
```

An order that has waited for a step past its deadline, or whose customer takes it back, says `OrderCancelling` and names the step: whoever
does it undoes it, or never begins, and the way back goes on from there. Each service knows what it did for each order, so whatever
asks it twice to undo, it is undone once, and a success behind its deadline is undone too.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from jobs.patterns.message import Message
from jobs.patterns.participant import Participant
from jobs.shop.inventory import WAREHOUSE
from jobs.shop.messages import (
    CancelPayment,
    CancelReservation,
    CancelShipment,
    ChargePayment,
    ConfirmDispatch,
    InventoryFailed,
    InventoryReleased,
    InventoryReserved,
    NoteStep,
    OrderCancelling,
    OrderPaid,
    OrderPlaced,
    OrderReserved,
    ParcelDispatched,
    ParcelRecalled,
    PaymentFailed,
    PaymentProcessed,
    PaymentRefunded,
    PrepareShipment,
    ReserveStock,
    ShipmentPrepared,
    ShippingFailed,
)
from jobs.shop.order import Patience, order_aggregate
from jobs.shop.payment import WALLET
from jobs.shop.shipping import SHIPMENT


def order(patience: Patience) -> Participant:
    """Notes what the others say of its orders."""
    return Participant(
        "order",
        order_aggregate(patience),
        {
            PaymentProcessed: lambda event: [NoteStep(event.order_id, "payment", "succeeded", "paid")],
            PaymentFailed: lambda event: [NoteStep(event.order_id, "payment", "failed", event.reason)],
            PaymentRefunded: lambda event: [NoteStep(event.order_id, "payment", "compensated", event.reason)],
            InventoryReserved: lambda event: [NoteStep(event.order_id, "inventory", "succeeded", "reserved")],
            InventoryFailed: lambda event: [NoteStep(event.order_id, "inventory", "failed", event.reason)],
            ParcelDispatched: lambda event: [NoteStep(event.order_id, "shipping", "succeeded", "dispatched")],
            ShippingFailed: lambda event: [NoteStep(event.order_id, "shipping", "failed", event.reason)],
            ParcelRecalled: lambda event: [NoteStep(event.order_id, "shipping", "failed", event.reason)],
        },
    )


def _stop_payment(event: OrderCancelling) -> Sequence[Message]:
    return [CancelPayment(event.user_id, event.order_id, event.reason)] if event.step == "payment" else []


def _stop_reservation(event: OrderCancelling) -> Sequence[Message]:
    if event.step != "inventory":
        return []
    return [CancelReservation(event.warehouse_id, event.order_id, event.user_id, event.reason)]


def _stop_shipment(event: OrderCancelling) -> Sequence[Message]:
    return [CancelShipment(event.order_id, event.user_id, event.warehouse_id, event.reason)] if event.step == "shipping" else []


def _refund(event: InventoryFailed | InventoryReleased) -> Sequence[Message]:
    return [CancelPayment(event.user_id, event.order_id, event.reason)]


def _release(event: ShippingFailed | ParcelRecalled) -> Sequence[Message]:
    return [CancelReservation(event.warehouse_id, event.order_id, event.user_id, event.reason)]


PAYMENT = Participant(
    "payment",
    WALLET,
    {
        OrderPlaced: lambda event: [ChargePayment(event.user_id, event.order_id, event.cents, event.deadline)],
        OrderCancelling: _stop_payment,
        InventoryFailed: _refund,
        InventoryReleased: _refund,
    },
)
INVENTORY = Participant(
    "inventory",
    WAREHOUSE,
    {
        OrderPaid: lambda event: [ReserveStock(event.warehouse_id, event.order_id, event.user_id, event.items, event.deadline)],
        OrderCancelling: _stop_reservation,
        ShippingFailed: _release,
        ParcelRecalled: _release,
    },
)
SHIPPING = Participant(
    "shipping",
    SHIPMENT,
    {
        OrderReserved: lambda event: [PrepareShipment(event.order_id, event.user_id, event.warehouse_id, event.deadline)],
        OrderCancelling: _stop_shipment,
    },
)


def carrier(leaves_percent: int) -> Participant:
    """Takes the parcels that are ready, but for a share that it leaves behind, chosen by the order's id."""

    def take(event: ShipmentPrepared) -> Sequence[Message]:
        if zlib.crc32(event.order_id.encode()) % 100 < leaves_percent:
            return []
        return [ConfirmDispatch(event.order_id, f"parcel-{event.order_id}"[:128])]

    return Participant("carrier", reactions={ShipmentPrepared: take}, dead_letters="shipping-commands-dlq")


def participants(patience: Patience, carrier_leaves_percent: int = 0) -> dict[str, Participant]:
    """Every service of the saga, by its name."""
    return {one.name: one for one in (order(patience), PAYMENT, INVENTORY, SHIPPING, carrier(carrier_leaves_percent))}
