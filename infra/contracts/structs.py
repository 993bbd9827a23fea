"""JSON Schemas -> types that msgspec decodes into: what a contract says of a value is what the decoder asks of it. Pure.

Of draft 7 it takes what the contracts use. Objects are open here though their schemas are closed: what a decoder does not know it passes
over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Union
from uuid import UUID

import msgspec
from msgspec import Meta

from infra.contracts.accepts import ANNOTATIONS, types
from infra.contracts.patterns import slow

Schema = Mapping[str, Any]
_FORMATS = {"uuid": UUID, "date-time": Annotated[datetime, Meta(tz=True)]}
_TEXT = {"minLength": "min_length", "maxLength": "max_length", "pattern": "pattern"}
_NUMBER = {"minimum": "ge", "maximum": "le", "exclusiveMinimum": "gt", "exclusiveMaximum": "lt", "multipleOf": "multiple_of"}
_LIST = {"minItems": "min_length", "maxItems": "max_length"}
_LENGTHS = ("minLength", "maxLength", "minItems", "maxItems")
_LEAST, _MOST = -(2**63), 2**63 - 1
_PARTS = {"type", "format", "enum", "const", "items", "properties", "required", "additionalProperties"}
_INSIDE = {"properties", "items", "required"}
_KNOWN = {*_TEXT, *_NUMBER, *_LIST, *ANNOTATIONS, *_PARTS}
_KNOWN_TYPES = {"string", "integer", "number", "boolean", "null", "array", "object"}
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def undecodable(schema: Schema, path: str = "") -> Iterator[str]:
    """What of a schema has no meaning for the decoder, so that it would take what the schema refuses, as a phrase."""
    where = path or "the value"
    told = list(_untold(schema))
    yield from (f"{where}: {what}" for what in told)
    if not told and (problem := _refused(schema)):
        yield f"{where}: limits that msgspec does not take: {problem}"
    if isinstance(items := schema.get("items"), Mapping):
        yield from undecodable(items, f"{path}[]")
    for name, field in schema.get("properties", {}).items():
        yield from undecodable(field, f"{path}.{name}" if path else name)


def _untold(schema: Schema) -> Iterator[str]:
    """What of one value has no meaning for the decoder."""
    if unknown := sorted(set(schema) - _KNOWN):
        yield str(unknown[0])
    if unknown := sorted(types(schema) - _KNOWN_TYPES):
        yield f"type {unknown[0]}"
    if (form := schema.get("format")) is not None and form not in _FORMATS:
        yield f"format {form}"
    if not isinstance(schema.get("const"), str | int | None) or isinstance(schema.get("const"), bool):
        yield f"const {schema['const']!r}, which is no text, whole number or null"
    if "enum" in schema and not all(isinstance(value, str | int) and not isinstance(value, bool) for value in schema["enum"] or (None,)):
        yield "enum of other values than texts and whole numbers"
    for word, value in _unlike(schema):
        yield f"{word} {value!r}, which is no {' or '.join(sorted(types(schema)))}"
    whole = types(schema) & {"integer"}
    for word, limit in schema.items():
        if word in _NUMBER and whole and not (isinstance(limit, int) and _LEAST <= limit <= _MOST):
            yield f"{word} {limit!r} of a whole number, which is none of 64 bits"
        if word in _LENGTHS and not isinstance(limit, int):
            yield f"{word} {limit!r}, which is no whole number"
    try:
        re.compile(schema.get("pattern", ""))
    except (re.error, OverflowError, RecursionError) as error:
        yield f"pattern {schema['pattern'][:80]!r}, which Python does not read: {error}"
    if problem := slow(schema):
        yield problem


def _refused(schema: Schema) -> str | None:
    """Why no decoder can be made of one value's limits."""
    try:
        msgspec.json.Decoder(field_type({word: limit for word, limit in schema.items() if word not in _INSIDE}, "Tried"))
    except (ValueError, TypeError, ArithmeticError, SystemError, NotImplementedError) as error:
        return str(error)
    return None


def field_type(schema: Schema, name: str) -> Any:  # noqa: ANN401 - a type made at run time
    """The type of one value; whole numbers are those of 64 bits where the schema sets no narrower limit."""
    if "const" in schema:
        return Literal[schema["const"]]
    if "enum" in schema:
        return Literal[tuple(schema["enum"])]
    kinds = [_simple(kind, schema, name) for kind in sorted(types(schema) & _KNOWN_TYPES)]
    return kinds[0] if len(kinds) == 1 else Any if len(kinds) == len(_KNOWN_TYPES) - 1 else Union[tuple(kinds)]  # noqa: UP007


def _unlike(schema: Schema) -> Iterator[tuple[str, Any]]:
    """The constant, or the first of the listed values, that the schema's own type refuses: the decoder asks for the value alone."""
    kinds = types(schema) | ({"integer"} if "number" in types(schema) else set())
    listed = {"const": [schema["const"]] if "const" in schema else [], "enum": schema.get("enum", ())}
    for word, values in listed.items():
        yield from [(word, value) for value in values if not types({"const": value}) <= kinds][:1]


def snake(name: str) -> str:
    """`userId` as `user_id`."""
    return _CAMEL.sub("_", name).lower()


def _simple(kind: str, schema: Schema, name: str) -> Any:  # noqa: ANN401 - a type made at run time
    if kind == "null":
        return None
    if kind == "boolean":
        return bool
    if kind == "string":
        return _FORMATS.get(schema.get("format", "")) or _limited(str, schema, _TEXT)
    if kind == "integer":
        least = {} if "exclusiveMinimum" in schema else {"minimum": _LEAST}
        most = {} if "exclusiveMaximum" in schema else {"maximum": _MOST}
        return _limited(int, least | most | dict(schema), _NUMBER)
    if kind == "number":
        return _limited(float, schema, _NUMBER)
    if kind == "array":
        items = schema.get("items")
        return _limited(list[field_type(items, name) if isinstance(items, Mapping) else Any], schema, _LIST)  # type: ignore[misc]
    return _object(schema, name)


def _object(schema: Schema, name: str) -> Any:  # noqa: ANN401 - a type made at run time
    properties = schema.get("properties")
    if not properties:
        return dict[str, Any]
    required = set(schema.get("required", ()))
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    names: dict[str, str] = {}
    for i, (wire, part) in enumerate(properties.items()):
        kind = field_type(part, f"{name}_{snake(wire)}")
        fields.append((f"f{i}", kind) if wire in required else (f"f{i}", kind, msgspec.UNSET))
        names[f"f{i}"] = wire
    return msgspec.defstruct(name, fields, rename=names, kw_only=True, frozen=True, gc=False)


def _limited(kind: Any, schema: Schema, words: Mapping[str, str]) -> Any:  # noqa: ANN401 - a type made at run time
    limits = {ours: schema[word] for word, ours in words.items() if word in schema}
    if "pattern" in limits:
        limits["pattern"] = _to_the_end(limits["pattern"])
    return Annotated[kind, Meta(**limits)] if limits else kind


def _to_the_end(pattern: str) -> str:
    r"""Python's `$` also matches before a newline at the end, where JSON Schema's does not."""
    return pattern[:-1] + r"\Z" if pattern.endswith("$") and not pattern.endswith(r"\$") else pattern
