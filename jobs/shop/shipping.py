"""An order's parcel: handed to the carrier in time, or not at all; one that left all the same is called back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from jobs.patterns.aggregate import Aggregate, Refused
from jobs.patterns.message import Message
from jobs.shop.messages import (
    CancelShipment,
    ConfirmDispatch,
    ParcelDispatched,
    ParcelRecalled,
    PrepareShipment,
    ShipmentPrepared,
    ShippingFailed,
)

LATE = "shipping missed its deadline"


class Shipment(Struct, frozen=True):
    """`deadline`: until when (ms) the carrier may take a prepared parcel."""

    status: Literal["new", "prepared", "dispatched", "failed", "recalled"] = "new"
    order_id: str = ""
    user_id: str = ""
    warehouse_id: str = ""
    deadline: int = 0
    parcel_id: str = ""


def decide(shipment: Shipment, command: Message, now_ms: int) -> Sequence[Message] | Refused:
    """What a command to a shipment leads to."""
    about = (shipment.order_id, shipment.user_id, shipment.warehouse_id)
    match command, shipment.status:
        case PrepareShipment(order_id, user_id, warehouse_id, deadline), "new":
            if now_ms > deadline:
                return [ShippingFailed(order_id, user_id, warehouse_id, LATE)]
            return [ShipmentPrepared(order_id, user_id, warehouse_id, deadline)]
        case CancelShipment(order_id, user_id, warehouse_id, reason), "new":
            return [ShippingFailed(order_id, user_id, warehouse_id, reason)]  # a parcel that is asked for after this is not packed
        case ConfirmDispatch(), "new":
            return Refused("not_prepared", f"no parcel of order {command.aggregate_id!r} was prepared")
        case ConfirmDispatch(_, parcel_id), "prepared" if now_ms <= shipment.deadline:
            return [ParcelDispatched(*about, parcel_id)]
        case ConfirmDispatch(_, parcel_id), "prepared" | "failed":
            return [ParcelRecalled(*about, parcel_id, LATE)]
        case CancelShipment(), "prepared":
            return [ShippingFailed(*about, command.reason)]
        case CancelShipment(), "dispatched":
            return [ParcelRecalled(*about, shipment.parcel_id, command.reason)]
    return []  # said before


def evolve(shipment: Shipment, event: Message) -> Shipment:
    """What an event makes of a shipment."""
    match event:
        case ShipmentPrepared(order_id, user_id, warehouse_id, deadline):
            return Shipment("prepared", order_id, user_id, warehouse_id, deadline)
        case ParcelDispatched():
            return replace(shipment, status="dispatched", parcel_id=event.parcel_id)
        case ShippingFailed(order_id, user_id, warehouse_id, _):
            return replace(shipment, status="failed", order_id=order_id, user_id=user_id, warehouse_id=warehouse_id)
        case ParcelRecalled():
            return replace(shipment, status="recalled", parcel_id=event.parcel_id)
    return shipment


def deadline(shipment: Shipment) -> tuple[int, Message] | None:
    """Until when the carrier may come, and what the owner says then."""
    if shipment.status != "prepared":
        return None
    return shipment.deadline + 1, CancelShipment(shipment.order_id, shipment.user_id, shipment.warehouse_id, LATE)


SHIPMENT = Aggregate(
    "shipping",
    Shipment,
    (PrepareShipment, ConfirmDispatch, CancelShipment),
    (ShipmentPrepared, ParcelDispatched, ShippingFailed, ParcelRecalled),
    decide,
    evolve,
    deadline,
)
