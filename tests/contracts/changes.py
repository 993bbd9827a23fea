"""Twenty compatible changes of our contracts, made one after the other, and the breaking ones, each made to ours alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from tests.contracts.edits import (
    Edit,
    added,
    data,
    limited,
    next_version,
    nothing,
    renamed,
    topic,
    whole,
    with_type,
    without_version,
)

ACTIONS, ACTION = "user-actions", "UserAction"
TIME = "^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}(\\.\\d{1,9})?Z$"


@dataclass(frozen=True)
class Breaking:
    """One change that is refused: its code, a part of its sentence, and what was there before beside our contracts."""

    edit: Edit
    what: str
    says: str
    before: Edit = nothing


def _place() -> dict[str, Any]:
    city = {"type": "string", "description": "City as the address says.", "unit": "name", "maxLength": 64}
    country = {"type": "string", "description": "Country.", "unit": "ISO 3166 code", "pattern": "^[A-Z]{2}$"}
    return {"additionalProperties": False, "required": ["country"], "properties": {"country": country, "city": city}}


def _wider_window(contract: dict[str, Any]) -> None:
    contract["event_time"] = {"not_before": datetime(2010, 1, 1, tzinfo=UTC), "ahead": "2d"}


NEXT_ACTION = next_version(ACTIONS, ACTION, renamed("platform", "device"), {"renamed": {"platform": "device"}})

COMPATIBLE: Mapping[str, Edit] = {
    "a text": added(ACTION, "referrer", ["string", "null"], "Page that led to this one.", "address", maxLength=2048),
    "an identifier": added(ACTION, "productId", "string", "The product that was looked at.", "identifier", minLength=1, maxLength=128),
    "an amount": added(ACTION, "priceCents", "integer", "Price that was shown.", "cents", minimum=0, maximum=2147483647),
    "a number of pieces": added(ACTION, "quantity", "integer", "How many.", "pieces", minimum=1, maximum=1000),
    "a share": added(ACTION, "discount", "number", "Share that was taken off.", "share", minimum=0, maximum=1),
    "a yes or no": added(ACTION, "isGift", "boolean", "Whether it is for somebody else.", "yes or no"),
    "a list": added(ACTION, "labels", "array", "Labels of the page.", "names", items={"type": "string", "maxLength": 64}, maxItems=20),
    "an object": added(ACTION, "place", "object", "Where the user was.", "object", **_place()),
    "one of some names": added(ACTION, "variant", "string", "Variant of the page.", "name", enum=["a", "b"]),
    "a time": added(ACTION, "shownAt", "string", "When the page was shown.", "RFC 3339, UTC", pattern=TIME),
    "one more name": limited(ACTION, "variant", enum=["a", "b", "c"]),
    "a longer text": limited(ACTION, "lifecycle", maxLength=200),
    "a wider integer": limited(ACTION, "priceCents", maximum=9007199254740991),
    "null as well": limited(ACTION, "quantity", type=["integer", "null"]),
    "a wider event-time window": topic(ACTIONS, _wider_window),
    "a new version with a rename": NEXT_ACTION,
    "a field of the new version": added(ACTION, "screenWidth", "integer", "Width of the window.", "pixels", minimum=1, maximum=100000),
    "a field of predictions": added("Prediction", "tookMicros", "integer", "How long scoring took.", "microseconds", minimum=0),
    "a field of orders": added("OrderPlaced", "couponCode", ["string", "null"], "Coupon of the order.", "name", maxLength=32),
    "a new event type": with_type("orders", "OrderReturned", "OrderShipped", "A customer sent an order back."),
}
"""In this order, each on top of those before it; every state passes every rule. All but the last three are of topic user-actions."""


def _removed(name: str) -> Callable[[dict[str, Any]], None]:
    def change(part: dict[str, Any]) -> None:
        part["properties"].pop(name)
        part["required"] = [one for one in part["required"] if one != name]

    return change


def _required(part: dict[str, Any]) -> None:
    part["required"].append("platform")


def _new_and_required(part: dict[str, Any]) -> None:
    part["properties"]["channel"] = {"type": "string", "description": "Where from.", "unit": "name"}
    part["required"].append("channel")


def _narrow_window(contract: dict[str, Any]) -> None:
    contract["event_time"] |= {"ahead": "1h"}


def _without_topic(folder: Path) -> None:
    (folder / "topics" / "command-replays.yaml").unlink()


def _flags(part: dict[str, Any]) -> None:
    part["properties"]["flags"]["items"]["enum"].remove("late_action")


def _sizes(most: int) -> Edit:
    items = {"type": "integer", "minimum": 0, "maximum": most}
    return added(ACTION, "sizes", "array", "Sizes that were shown.", "pixels", items=items)


def _cells(kind: str) -> Edit:
    cell = {"type": "object", "properties": {"x": {"type": kind, "description": "Text of it.", "unit": "text"}}}
    return added(ACTION, "cells", "array", "Rows of cells.", "cells", items={"type": "array", "items": cell})


def _pair(kind: str) -> Edit:
    return added(ACTION, "pair", "array", "A name and what it is.", "names", items=[{"type": "string"}, {"type": kind}])


def _without_fill(contract: dict[str, Any]) -> None:
    contract["events"][1]["upcast"] = {"filled": {"device": "desktop"}}


def _sooner(contract: dict[str, Any]) -> None:
    contract["events"][0]["deprecated"]["ends"] = date(2098, 1, 1)


BREAKING: Mapping[str, Breaking] = {
    "an optional field removed": Breaking(data(ACTION, _removed("platform")), "field removed", "write version 2 of UserAction without it"),
    "a required field removed": Breaking(data(ACTION, _removed("sessionId")), "field removed", "who reads data.sessionId is left without"),
    "a field renamed": Breaking(
        data(ACTION, renamed("platform", "device")),
        "field renamed",
        "write version 2 of UserAction beside this one with `upcast: {renamed:",
    ),
    "a field of an object renamed": Breaking(
        data("Prediction", lambda part: renamed("sha256", "hash")(part["properties"]["model"])),
        "field renamed",
        "data.model.hash of the same",
    ),
    "a field of a list's objects removed": Breaking(
        data("OrderPlaced", lambda part: _removed("sku")(part["properties"]["items"]["items"])), "field removed", "data.items[].sku"
    ),
    "an optional field made required": Breaking(data(ACTION, _required), "made required", "events without it are refused"),
    "a required field made optional": Breaking(
        data(ACTION, lambda part: part["required"].remove("sessionId")), "made optional", "readers count on it"
    ),
    "null for a required field": Breaking(
        limited("OrderPaid", "cents", type=["integer", "null"]), "made nullable", "null beside a required value"
    ),
    "a new required field": Breaking(data(ACTION, _new_and_required), "required field added", "make it optional"),
    "another type": Breaking(limited(ACTION, "sessionId", type="integer"), "type changed", "string -> integer"),
    "fractions of a whole number": Breaking(limited("OrderPaid", "cents", type="number"), "type changed", "integer -> number"),
    "a time that is any text": Breaking(
        data(ACTION, lambda part: part["properties"]["expiresAt"].pop("format")),
        "type changed",
        "a column of timestamptz -> string",
        before=added(ACTION, "expiresAt", "string", "When it ends.", "RFC 3339, UTC", format="date-time"),
    ),
    "a shorter text": Breaking(limited(ACTION, "sessionId", maxLength=64), "narrowed", "maxLength 128 -> 64"),
    "a value less": Breaking(data("Prediction", _flags), "narrowed", "enum"),
    "another pattern": Breaking(limited(ACTION, "action", pattern="^[a-z]+$"), "narrowed", "pattern"),
    "a lower limit where there was none": Breaking(limited("OrderPlaced", "deadline", maximum=1), "narrowed", "maximum"),
    "a list of larger numbers": Breaking(_sizes(2**40), "type changed", "a column of list<int> -> list<long>", before=_sizes(100)),
    "another type in lists of lists": Breaking(_cells("integer"), "type changed", "data.cells[][].x", before=_cells("string")),
    "another type at one place of a list": Breaking(_pair("integer"), "narrowed", "items by their position", before=_pair("string")),
    "another type in a map": Breaking(
        data("AggregateSnapshotted", lambda part: part["properties"]["recent"].update(additionalProperties={"type": "string"})),
        "type changed",
        "data.recent.*: integer -> string",
    ),
    "a closed object": Breaking(
        data("AggregateSnapshotted", lambda part: part["properties"]["state"].update(additionalProperties=False)),
        "narrowed",
        "open -> closed",
    ),
    "a rule for the whole event": Breaking(
        whole("OrderPaid", lambda schema: schema.update(allOf=[{"required": ["more"]}])), "narrowed", "allOf none ->"
    ),
    "another definition": Breaking(
        whole("OrderPaid", lambda schema: schema.update(definitions={"x": {"type": "integer"}})),
        "narrowed",
        "definitions {'x': {'type': 'string'}} ->",
        before=whole("OrderPaid", lambda schema: schema.update(definitions={"x": {"type": "string"}})),
    ),
    "a last day that is over": Breaking(
        next_version(ACTIONS, ACTION, renamed("platform", "device"), {"renamed": {"platform": "device"}}, ends=date(2020, 1, 1)),
        "deprecated too late",
        "its last day 2020-01-01 is over",
    ),
    "another unit": Breaking(limited("OrderPaid", "cents", unit="euros"), "unit changed", "unit cents -> euros"),
    "an event type removed": Breaking(without_version("orders", "OrderReserved", 1), "event type removed", "it was never deprecated"),
    "a version removed before its day": Breaking(
        without_version(ACTIONS, ACTION, 1), "version removed", "it may be sent until 2099-12-31", before=NEXT_ACTION
    ),
    "a nearer last day": Breaking(topic(ACTIONS, _sooner), "deprecation hastened", "sooner than the 2099-12-31", before=NEXT_ACTION),
    "another way from the version before": Breaking(
        topic(ACTIONS, _without_fill), "upcast changed", "would be read differently", before=NEXT_ACTION
    ),
    "another key": Breaking(
        topic(ACTIONS, lambda contract: contract["key"].update(field="data.sessionId")), "key field changed", "make a new topic"
    ),
    "another partitioner": Breaking(
        topic(ACTIONS, lambda contract: contract["key"].update(partitioner="crc32")), "partitioner changed", "murmur2 -> crc32"
    ),
    "more partitions": Breaking(topic(ACTIONS, lambda contract: contract.update(partitions=8)), "partitions changed", "4 -> 8"),
    "another cleanup": Breaking(
        topic("aggregate-snapshots", lambda contract: contract.update(cleanup="delete")), "cleanup changed", "compact -> delete"
    ),
    "kept for less long": Breaking(
        topic("predictions", lambda contract: contract.update(retention="7d")), "retention shortened", "30d -> 7d"
    ),
    "no dead letters": Breaking(
        topic(ACTIONS, lambda contract: contract.update(dead_letter_topic=None)), "dead_letter_topic removed", "would be lost"
    ),
    "a narrower event-time window": Breaking(topic(ACTIONS, _narrow_window), "event-time window narrowed", "becomes dead letters"),
    "no table": Breaking(topic("predictions", lambda contract: contract.update(table=None)), "table removed", "predictions -> None"),
    "a topic removed": Breaking(_without_topic, "topic removed", "keep it until nobody writes or reads it"),
}
