"""What travels over HTTP, requests and answers. The limits are those of the messages that the requests become."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from jobs.patterns.message import Id
from jobs.patterns.replies import Version
from jobs.shop.messages import ActionId, Cents, Item, Quantity, Reason

Status = Literal["placed", "paid", "reserved", "cancelling", "shipped", "cancelled"]
MOST_IN_PAGE = 200
_PLAIN = r"^[A-Za-z0-9_-][A-Za-z0-9._~-]*$(?!\n)"  # Python's $ also stands before a last line feed

OrderId = Annotated[Id, Meta(description="The order (identifier).")]
UserId = Annotated[Id, Meta(description="Who orders (identifier).")]
WarehouseId = Annotated[Id, Meta(description="Where the items lie (identifier).")]
OrderVersion = Annotated[Version, Meta(description="How many events the order has had; also in ETag (number from 1).")]
Moment = Annotated[datetime, Meta(tz=True)]


class OrderLine(Item, frozen=True, forbid_unknown_fields=True):
    """One line of an order; each sku stands in one line."""

    sku: Annotated[Id, Meta(description="What is ordered (identifier).")]
    quantity: Annotated[Quantity, Meta(description="How many (pieces).")]
    unit_cents: Annotated[Cents, Meta(description="The price of one piece (cents).")]


class OrderRequest(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A customer orders. Without an `orderId` one is made; beside an Idempotency-Key there is none."""

    user_id: UserId
    warehouse_id: WarehouseId
    items: Annotated[tuple[OrderLine, ...], Meta(description="What is ordered; at least one line, or the order is refused (lines).")]
    action_id: Annotated[ActionId, Meta(description="The user action that led to it (UUID).")] | None = None
    # narrower than the message's, so that the order has a plain address
    order_id: Annotated[Id, Meta(pattern=_PLAIN, description="Its own id (identifier).")] | None = None


class CancelRequest(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A customer takes an order back."""

    reason: Annotated[Reason, Meta(description="Why (text).")]


class OrderChanged(Struct, frozen=True, rename="camel"):
    """What was accepted. A read with this version sees it."""

    order_id: OrderId
    version: OrderVersion


class OrderSummary(Struct, frozen=True, rename="camel"):
    """An order as the read model shows it."""

    order_id: OrderId
    user_id: UserId
    warehouse_id: WarehouseId
    status: Annotated[Status, Meta(description="How far it is (name).")]
    total_cents: Annotated[int, Meta(description="Its price (cents).")]
    item_count: Annotated[int, Meta(description="The quantities of its lines together (pieces).")]
    refunded_cents: Annotated[int, Meta(description="What was paid back when it was cancelled (cents).")]
    reason: Annotated[str | None, Meta(description="Why it is cancelled or being so; null otherwise (text).")]
    version: OrderVersion
    placed_at: Annotated[Moment, Meta(description="When it was placed (RFC 3339, UTC).")]
    updated_at: Annotated[Moment, Meta(description="When its latest event happened (RFC 3339, UTC).")]
    closed_at: Annotated[Moment | None, Meta(description="When it was shipped or cancelled; null before (RFC 3339, UTC).")]


class OrderPage(Struct, frozen=True, rename="camel"):
    """A user's orders, the one that was placed last first."""

    orders: Annotated[list[OrderSummary], Meta(description="These (orders).")]
    next: Annotated[str | None, Meta(description="Where those follow that were placed before; null: there are none (path and query).")]


class OrderPrediction(Struct, frozen=True, rename="camel"):
    """What was predicted of the user action that led to an order; null where the prediction is not known yet."""

    order_id: OrderId
    action_id: Annotated[str, Meta(description="The user action (UUID).")]
    user_id: UserId
    total_cents: Annotated[int, Meta(description="The order's price (cents).")]
    placed_at: Annotated[Moment, Meta(description="When the order was placed (RFC 3339, UTC).")]
    score: Annotated[float | None, Meta(description="The model's output (probability).")]
    decision: Annotated[bool | None, Meta(description="Whether the score reached the model's threshold (yes or no).")]
    model_name: Annotated[str | None, Meta(description="The model that scored (name).")]
    model_version: Annotated[str | None, Meta(description="Its version (version number).")]


State = Literal["up", "down"]


class HealthReport(Struct, frozen=True, rename="camel"):
    """What stands behind this service."""

    broker: Annotated[State, Meta(description="Whether the broker answers (name).")]
    order_service: Annotated[State, Meta(description="Whether a process takes orders' commands (name).")]
    read_model: Annotated[State, Meta(description="Whether the read model can be asked (name).")]


class ProblemDocument(Struct, frozen=True, rename="camel", omit_defaults=True):
    """What was wrong, as RFC 9457 has it."""

    type: Annotated[str, Meta(description="Names the kind of problem; it ends in `reason` (URI).")]
    title: Annotated[str, Meta(description="The kind of problem in words (text).")]
    status: Annotated[int, Meta(description="The HTTP status (number).")]
    detail: Annotated[str, Meta(description="What was expected, what came, and what to do (text).")]
    reason: Annotated[str, Meta(description="The kind of problem, for programs (name).")]
    order_id: Annotated[str, Meta(description="The order that was meant (identifier).")] | UnsetType = UNSET
    command_id: Annotated[str, Meta(description="The command whose answer did not come (UUID).")] | UnsetType = UNSET
    idempotency_key: Annotated[str, Meta(description="The key to send the request again with (text).")] | UnsetType = UNSET
    version: Annotated[int, Meta(description="The order's version (number from 0).")] | UnsetType = UNSET


class ReadQuery(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """How an order is asked for."""

    version: Annotated[Version, Meta(description="Wait until the read model shows this version or a later one (number from 1).")] = 0


class ListQuery(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Which orders are asked for. Without a user there is no list: the read model is searched by user."""

    user_id: Annotated[Id, Meta(description="Whose orders (identifier).")]
    status: Annotated[Status, Meta(description="Only those that are so far (name).")] | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=MOST_IN_PAGE, description="So many at most (orders).")] = 50
    before: Annotated[Id, Meta(description="Only those that were placed before this one (identifier).")] | UnsetType = UNSET


class NoQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing behind the question mark."""
