"""What the shop's services ask and tell each other: commands on `*-commands`, events on orders, payments, inventory, shipping.

Money is whole cents. Who is to act next finds what it needs in the event itself, so that no service asks another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from jobs.patterns.message import Id, Message

Cents = Annotated[int, Meta(ge=0, le=10**12)]
Paid = Annotated[int, Meta(ge=1, le=10**12)]
Quantity = Annotated[int, Meta(ge=1, le=1_000_000)]
Reason = Annotated[str, Meta(min_length=1, max_length=200)]
Milliseconds = Annotated[int, Meta(ge=0, le=253_402_300_799_999)]
Step = Literal["payment", "inventory", "shipping"]
ActionId = Annotated[str, Meta(max_length=64)]


class Item(Struct, frozen=True, rename="camel"):
    """One line of an order."""

    sku: Id
    quantity: Quantity
    unit_cents: Cents


Items = tuple[Item, ...]


class _OrderCommand(Message, frozen=True):
    topic: ClassVar[str] = "order-commands"
    key: ClassVar[str] = "order_id"
    order_id: Id


class PlaceOrder(_OrderCommand, frozen=True):
    """A customer orders. `action_id`: the user action that led to it, whose prediction is joined to the order."""

    user_id: Id
    warehouse_id: Id
    items: Items
    action_id: ActionId | None = None


class CancelOrder(_OrderCommand, frozen=True):
    """A customer takes an order back; refused once it was shipped or is being cancelled."""

    reason: Reason


class NoteStep(_OrderCommand, frozen=True):
    """What a participant said of its step."""

    step: Step
    outcome: Literal["succeeded", "failed", "compensated"]
    reason: Reason


class ExpireStep(_OrderCommand, frozen=True):
    """The deadline of a step has passed."""

    step: Step


class _OrderEvent(Message, frozen=True):
    topic: ClassVar[str] = "orders"
    key: ClassVar[str] = "order_id"
    order_id: Id


class OrderPlaced(_OrderEvent, frozen=True):
    """An order was accepted and waits for its payment until `deadline`."""

    user_id: Id
    warehouse_id: Id
    items: Items
    cents: Paid
    deadline: Milliseconds
    action_id: ActionId | None = None


class OrderPaid(_OrderEvent, frozen=True):
    """An order is paid and waits for its stock until `deadline`."""

    user_id: Id
    warehouse_id: Id
    items: Items
    cents: Paid
    deadline: Milliseconds


class OrderReserved(_OrderEvent, frozen=True):
    """An order's stock is set aside, and it waits to be shipped until `deadline`."""

    user_id: Id
    warehouse_id: Id
    items: Items
    cents: Paid
    deadline: Milliseconds


class OrderCancelling(_OrderEvent, frozen=True):
    """An order is being wound down from `step` on; whoever does that step undoes it, or never begins."""

    user_id: Id
    warehouse_id: Id
    step: Step
    reason: Reason


class OrderShipped(_OrderEvent, frozen=True):
    """The end of an order that went well."""

    user_id: Id


class OrderCancelled(_OrderEvent, frozen=True):
    """The end of an order that did not; nothing of it is paid or set aside any more. `refunded_cents`: 0 if nothing was paid."""

    user_id: Id
    reason: Reason
    refunded_cents: Cents


STATUS: Mapping[type[Message], str] = {
    OrderPlaced: "placed",
    OrderPaid: "paid",
    OrderReserved: "reserved",
    OrderCancelling: "cancelling",
    OrderShipped: "shipped",
    OrderCancelled: "cancelled",
}
"""What an order is called after each of its events."""


class _PaymentCommand(Message, frozen=True):
    topic: ClassVar[str] = "payment-commands"
    key: ClassVar[str] = "user_id"
    user_id: Id


class CreditWallet(_PaymentCommand, frozen=True):
    """Put money into a user's wallet."""

    cents: Paid


class ChargePayment(_PaymentCommand, frozen=True):
    """Take an order's price out of its user's wallet."""

    order_id: Id
    cents: Paid
    deadline: Milliseconds


class CancelPayment(_PaymentCommand, frozen=True):
    """Give back what an order was charged, or never charge it."""

    order_id: Id
    reason: Reason


class _PaymentEvent(Message, frozen=True):
    topic: ClassVar[str] = "payments"
    key: ClassVar[str] = "user_id"
    user_id: Id


class WalletCredited(_PaymentEvent, frozen=True):
    """Money came into a wallet."""

    cents: Paid


class PaymentProcessed(_PaymentEvent, frozen=True):
    """An order was charged."""

    order_id: Id
    cents: Paid


class PaymentFailed(_PaymentEvent, frozen=True):
    """An order was not charged and never will be."""

    order_id: Id
    reason: Reason


class PaymentRefunded(_PaymentEvent, frozen=True):
    """What an order was charged went back into the wallet."""

    order_id: Id
    cents: Paid
    reason: Reason


class _InventoryCommand(Message, frozen=True):
    topic: ClassVar[str] = "inventory-commands"
    key: ClassVar[str] = "warehouse_id"
    warehouse_id: Id


class ReceiveStock(_InventoryCommand, frozen=True):
    """Put pieces into a warehouse."""

    sku: Id
    quantity: Quantity


class ReserveStock(_InventoryCommand, frozen=True):
    """Set an order's pieces aside, all or none."""

    order_id: Id
    user_id: Id
    items: Items
    deadline: Milliseconds


class CancelReservation(_InventoryCommand, frozen=True):
    """Put back what was set aside for an order, or never set it aside."""

    order_id: Id
    user_id: Id
    reason: Reason


class _InventoryEvent(Message, frozen=True):
    topic: ClassVar[str] = "inventory"
    key: ClassVar[str] = "warehouse_id"
    warehouse_id: Id


class StockReceived(_InventoryEvent, frozen=True):
    """Pieces came into a warehouse."""

    sku: Id
    quantity: Quantity


class InventoryReserved(_InventoryEvent, frozen=True):
    """An order's pieces are set aside."""

    order_id: Id
    user_id: Id
    items: Items


class InventoryFailed(_InventoryEvent, frozen=True):
    """An order's pieces were not set aside and never will be."""

    order_id: Id
    user_id: Id
    reason: Reason


class InventoryReleased(_InventoryEvent, frozen=True):
    """What was set aside for an order went back."""

    order_id: Id
    user_id: Id
    items: Items
    reason: Reason


class _ShippingCommand(Message, frozen=True):
    topic: ClassVar[str] = "shipping-commands"
    key: ClassVar[str] = "order_id"
    order_id: Id


class PrepareShipment(_ShippingCommand, frozen=True):
    """Pack an order for the carrier."""

    user_id: Id
    warehouse_id: Id
    deadline: Milliseconds


class ConfirmDispatch(_ShippingCommand, frozen=True):
    """The carrier has taken an order's parcel."""

    parcel_id: Id


class CancelShipment(_ShippingCommand, frozen=True):
    """Call a parcel back, or never hand it over."""

    user_id: Id
    warehouse_id: Id
    reason: Reason


class _ShippingEvent(Message, frozen=True):
    topic: ClassVar[str] = "shipping"
    key: ClassVar[str] = "order_id"
    order_id: Id
    user_id: Id
    warehouse_id: Id


class ShipmentPrepared(_ShippingEvent, frozen=True):
    """A parcel is ready for the carrier, who may take it until `deadline`."""

    deadline: Milliseconds


class ParcelDispatched(_ShippingEvent, frozen=True):
    """The carrier took a parcel in time."""

    parcel_id: Id


class ShippingFailed(_ShippingEvent, frozen=True):
    """No parcel was handed over; one that the carrier takes all the same is called back."""

    reason: Reason


class ParcelRecalled(_ShippingEvent, frozen=True):
    """A parcel that had left was called back."""

    parcel_id: Id
    reason: Reason
