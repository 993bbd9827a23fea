"""The fields of an event's JSON Schema, and what it refuses, in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.contracts.fields import fields_within
from infra.portal.catalogue import Field


def fields(schema: Mapping[str, Any]) -> tuple[Field, ...]:
    """All of them, those of nested objects too, in the order of the schema."""
    return tuple(
        Field(
            one.path,
            _type(one.schema),
            str(one.schema.get("unit", "")),
            str(one.schema.get("description", "")),
            one.required,
            limits(one.schema),
        )
        for one in fields_within(schema)
    )


def limits(schema: Mapping[str, Any]) -> str:
    """What a value must keep to beside its type: `1 to 128 characters`, `at least 0`, `one of a, b`."""
    said = [f"always {_told(schema['const'])}"] if "const" in schema else []
    said += [f"one of {', '.join(map(_told, schema['enum']))}"] if "enum" in schema else []
    said += _between(schema.get("minimum"), schema.get("maximum"), "")
    said += [f"above {schema['exclusiveMinimum']}"] if "exclusiveMinimum" in schema else []
    said += [f"below {schema['exclusiveMaximum']}"] if "exclusiveMaximum" in schema else []
    said += _between(schema.get("minLength"), schema.get("maxLength"), " characters")
    said += _between(schema.get("minItems"), schema.get("maxItems"), " entries")
    said += _between(schema.get("minProperties"), schema.get("maxProperties"), " entries")
    said += [f"as {schema['pattern']}"] if "pattern" in schema else []
    said += [f"a {schema['format']}"] if "format" in schema else []
    items = schema.get("items")
    if isinstance(items, Mapping) and "properties" not in items and (each := limits(items)):
        said.append(f"each {each}")
    return "; ".join(said)


def _between(low: Any, high: Any, what: str) -> list[str]:  # noqa: ANN401 - numbers of a JSON Schema
    if low is None and high is None:
        return []
    if high is None:
        return [f"at least {low:,}{what}"]
    return [f"at most {high:,}{what}" if low is None else f"{low:,} to {high:,}{what}"]


def _type(schema: Mapping[str, Any]) -> str:
    named = schema.get("type", "any")
    told = named if isinstance(named, str) else " or ".join(named)
    items = schema.get("items")
    return f"{told} of {_type(items)}" if "array" in told and isinstance(items, Mapping) else told


def _told(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
