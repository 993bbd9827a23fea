"""How the fields of an event type are called from version to version: what makes an event of any version one of the newest shape. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.contracts.contract import EventSchema, Topic, Upcast

_NONE = Upcast()


@dataclass(frozen=True)
class Line:
    """One field of a shape as another version has it: its name there, None where that version lacks it, and what it is filled with then.

    `is_filled`: whether an upcast says what; it may say null.
    """

    name: str | None
    filled: Any = None
    is_filled: bool = False


def data_fields(schema: EventSchema) -> Mapping[str, Mapping[str, Any]]:
    """The fields of an event's `data`, by name."""
    fields: Mapping[str, Mapping[str, Any]] = schema.document.get("properties", {}).get("data", {}).get("properties", {})
    return fields


def required_fields(schema: EventSchema) -> frozenset[str]:
    """Those that an event must have."""
    return frozenset(schema.document.get("properties", {}).get("data", {}).get("required", ()))


def line(topic: Topic, event_type: str, field: str, shape: int, version: int) -> Line:
    """How the field that version `shape` calls `field` stands in `version`, be that older or newer.

    An older version that lacks it is filled as the upcasts on the way say; in a newer one it is gone where no rename leads to it.
    """
    name = field
    if version <= shape:
        for step in _steps(topic, event_type, version, shape)[::-1]:
            upcast = topic.upcasts.get((event_type, step), _NONE)
            if name in upcast.filled:
                return Line(None, upcast.filled[name], is_filled=True)
            name = next((old for old, new in upcast.renamed.items() if new == name), name)
        return Line(name)
    for step in _steps(topic, event_type, shape, version):
        upcast = topic.upcasts.get((event_type, step), _NONE)
        name = upcast.renamed.get(name, name)
    return Line(name)


def _steps(topic: Topic, event_type: str, after: int, last: int) -> list[int]:
    return [version for version in topic.versions(event_type) if after < version <= last]
