"""Read model `order_predictions`: what was predicted of the user action that led to an order.

Orders and predictions come in any order, from different topics. Each half lies in a table of its own, and readers see them joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from msgspec import Meta, Struct
from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, Select, Table, Text, select

from jobs.patterns.message import Id, Message
from jobs.patterns.projection import Moment, Part, Projection, Row, moment
from jobs.patterns.recorded import Recorded
from jobs.shop.messages import OrderPlaced


class Model(Struct, frozen=True):
    """The model that scored."""

    name: str
    version: str


class Prediction(Message, frozen=True):
    """The answer to one user action, as far as it is read here; topic predictions has the whole."""

    topic: ClassVar[str] = "predictions"
    key: ClassVar[str] = "user_id"
    user_id: Id
    action_id: str
    action_partition: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    action_offset: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    score: float
    decision: bool
    model: Model


def _order_columns() -> Sequence[Column[Any]]:
    return (
        Column("order_id", Text, primary_key=True, comment="The order (identifier)."),
        Column("action_id", Text, nullable=False, comment="The user action that led to it (UUID)."),
        Column("user_id", Text, nullable=False, comment="Who ordered (identifier)."),
        Column("total_cents", BigInteger, nullable=False, comment="Its price (cents)."),
        Column("placed_at", Moment, nullable=False, comment="When it was placed (UTC)."),
    )


def _prediction_columns() -> Sequence[Column[Any]]:
    return (
        Column("action_id", Text, primary_key=True, comment="The user action (UUID)."),
        Column("action_partition", Integer, nullable=False, comment="Where the action lies in its topic (partition)."),
        Column("action_offset", BigInteger, nullable=False, comment="Where the action lies in its partition (offset)."),
        Column("score", Double, nullable=False, comment="The model's output (probability)."),
        Column("decision", Boolean, nullable=False, comment="Whether the score reached the model's threshold (yes or no)."),
        Column("model_name", Text, nullable=False, comment="The model that scored (name)."),
        Column("model_version", Text, nullable=False, comment="Its version (version number)."),
    )


def _ordered(event: Message) -> str | None:
    return event.order_id if isinstance(event, OrderPlaced) and event.action_id is not None else None


def _predicted(event: Message) -> str | None:
    return event.action_id.lower() if isinstance(event, Prediction) else None


def fold_order(row: Row | None, event: Recorded) -> Row | None:
    """An order's half: it is placed once."""
    data = event.envelope.data
    if row is not None or not isinstance(data, OrderPlaced) or data.action_id is None:
        return row
    return {
        "order_id": data.order_id,
        "action_id": data.action_id.lower(),
        "user_id": data.user_id,
        "total_cents": data.cents,
        "placed_at": moment(event.envelope.at),
    }


def fold_prediction(row: Row | None, event: Recorded) -> Row | None:
    """A prediction's half.

    An action that was sent twice under one id has two: the one whose action lies first stays, whichever is read first.
    """
    data = event.envelope.data
    if not isinstance(data, Prediction):
        return row
    if row is not None and (row["action_partition"], row["action_offset"]) <= (data.action_partition, data.action_offset):
        return row
    return {
        "action_id": data.action_id.lower(),
        "action_partition": data.action_partition,
        "action_offset": data.action_offset,
        "score": data.score,
        "decision": data.decision,
        "model_name": data.model.name,
        "model_version": data.model.version,
    }


def joined(orders: Table, predictions: Table) -> Select[Any]:
    """Every order that names its action, with the prediction where it is known already."""
    o, p = orders.c, predictions.c
    return select(
        o.order_id, o.action_id, o.user_id, o.total_cents, o.placed_at, p.score, p.decision, p.model_name, p.model_version
    ).select_from(orders.outerjoin(predictions, o.action_id == p.action_id))


ORDER_PREDICTIONS = Projection(
    name="order_predictions",
    version=1,
    topics=(OrderPlaced.topic, Prediction.topic),
    events=(OrderPlaced, Prediction),
    parts=(
        Part(_order_columns, _ordered, fold_order, indexed=("action_id", "user_id")),
        Part(_prediction_columns, _predicted, fold_prediction, name="predictions"),
    ),
    query=joined,
)
