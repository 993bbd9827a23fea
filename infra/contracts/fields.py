"""The fields of a schema by their paths, as `data.userId`, `data.model.name`, `data.items[].sku`; objects and arrays among them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from infra.contracts.contract import EventSchema


@dataclass(frozen=True)
class Field:
    """One field. `within`: the path of the object that has it, empty for the envelope; `required`: whether that object must have it."""

    path: str
    within: str
    required: bool
    schema: Mapping[str, Any]


def fields_of(schema: EventSchema) -> Mapping[str, Field]:
    """Every field of the envelope and of what lies in it, by path."""
    return {field.path: field for field in fields_within(schema.document)}


def fields_within(part: Mapping[str, Any], within: str = "") -> Iterator[Field]:
    """Every field of an object's schema, each before those that lie in it; `within`: the path of the object."""
    required = part.get("required", ())
    for name, field in part.get("properties", {}).items():
        path = f"{within}.{name}" if within else name
        yield Field(path, within, name in required, field)
        while isinstance(field, Mapping):
            yield from fields_within(field, path)
            field, path = field.get("items"), f"{path}[]"
