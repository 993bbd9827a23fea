"""Read model `order_summaries`: each order as it stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, Column, Text

from jobs.patterns.message import Message
from jobs.patterns.projection import Moment, Part, Projection, Row, moment
from jobs.patterns.recorded import Recorded
from jobs.shop.messages import STATUS, OrderCancelled, OrderCancelling, OrderPlaced, OrderShipped


def _columns() -> Sequence[Column[Any]]:
    return (
        Column("order_id", Text, primary_key=True, comment="The order (identifier)."),
        Column("user_id", Text, nullable=False, comment="Who ordered (identifier)."),
        Column("warehouse_id", Text, nullable=False, comment="Where its items lie (identifier)."),
        Column("status", Text, nullable=False, comment="How far it is: placed, paid, reserved, cancelling, shipped or cancelled (name)."),
        Column("total_cents", BigInteger, nullable=False, comment="Its price (cents)."),
        Column("item_count", BigInteger, nullable=False, comment="The quantities of its lines together (pieces)."),
        Column("refunded_cents", BigInteger, nullable=False, comment="What was paid back when it was cancelled (cents)."),
        Column("reason", Text, comment="Why it is cancelled or being so; null otherwise (text)."),
        Column("version", BigInteger, nullable=False, comment="How many events it had: the aggregate's version (number from 1)."),
        Column("placed_at", Moment, nullable=False, comment="When it was placed (UTC)."),
        Column("updated_at", Moment, nullable=False, comment="When its latest event happened (UTC)."),
        Column("closed_at", Moment, comment="When it was shipped or cancelled; null before (UTC)."),
    )


def _order(event: Message) -> str:
    return event.aggregate_id


def fold(row: Row | None, event: Recorded) -> Row | None:
    """An order after an event. One that it has had already, told by its number, changes nothing."""
    envelope, data = event.envelope, event.envelope.data
    version = envelope.aggregate_version
    if version is None or (row is not None and version <= row["version"]):
        return row  # without its number an event cannot be told from its repetition; the order's owner gives each one
    at = moment(envelope.at)
    if isinstance(data, OrderPlaced):
        return {
            "order_id": data.order_id,
            "user_id": data.user_id,
            "warehouse_id": data.warehouse_id,
            "status": "placed",
            "total_cents": data.cents,
            "item_count": sum(item.quantity for item in data.items),
            "refunded_cents": 0,
            "reason": None,
            "version": version,
            "placed_at": at,
            "updated_at": at,
            "closed_at": None,
        }
    if row is None:
        return None  # an order whose first event nobody can read; the record was counted
    changes: dict[str, Any] = {"status": STATUS[type(data)], "version": version, "updated_at": at}
    if isinstance(data, OrderCancelling | OrderCancelled):
        changes["reason"] = data.reason
    if isinstance(data, OrderCancelled):
        changes["refunded_cents"] = data.refunded_cents
    if isinstance(data, OrderShipped | OrderCancelled):
        changes["closed_at"] = at
    return {**row, **changes}


ORDER_SUMMARIES = Projection(
    name="order_summaries",
    version=1,
    topics=(OrderPlaced.topic,),
    events=tuple(STATUS),
    parts=(Part(_columns, _order, fold, indexed=("user_id",)),),
)
