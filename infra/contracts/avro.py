"""Avro values -> JSON, with the schema that they were written with. Bad bytes are `Rejected`; work and memory are bounded beforehand.

What a schema allows is measured before a byte is read by it: a few bytes of an array of empty records, or of a record that nests itself,
could else ask for any amount of memory or stack.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import fastavro
import orjson
from fastavro.schema import SchemaParseException

from infra.contracts.codec import nests_deeper
from infra.contracts.events import Rejected

TEXT_BYTES = 512 << 10
"""The longest schema that is used: a decision holds its text, and is one record."""
_NESTING = 100  # of the schema's own JSON
_MOST_BYTES = 256 << 20  # what one value may take in memory at most, far above what an honest one takes
_VALUE = 64  # bytes of memory, and of JSON, that any value takes at most beside its text
_CONTAINER = 256
_MESSAGE_LIMIT = 300
# what the decoder raises on bytes that the schema does not describe, and on dates beyond a calendar
_FAULTS = (EOFError, LookupError, ValueError, TypeError, ArithmeticError)
_SCHEMA_FAULTS = (*_FAULTS, AttributeError, RecursionError, SchemaParseException)
_WRAPPED = "streamhouse.Wrapped"
_SMALLEST = {"null": 0, "float": 4, "double": 8, **dict.fromkeys(("boolean", "int", "long", "string", "bytes"), 1)}


class UnusableSchemaError(Exception):
    """No value is decoded by this schema; the sentence says why."""


@dataclass(frozen=True)
class _Size:
    """The fewest bytes of one value, and the most memory of it outside of arrays and maps; whether it can hold a NaN."""

    least: int
    most: int
    floats: bool = False


@dataclass(frozen=True)
class AvroSchema:
    """A writer's schema that is safe to read by. `per_byte`: the most memory that one more byte of an array or map can ask for.

    `is_wrapped`: `parsed` is a record of one field, the value: fastavro parses a union anew for each value that it reads by it.
    """

    parsed: Any
    fixed: int
    per_byte: int
    floats: bool
    is_wrapped: bool

    def to_json(self, payload: bytes) -> bytes | Rejected:
        """One value as JSON: times in RFC 3339, UUIDs and enums as text. Bytes, decimals and NaN have no place in JSON."""
        if self.fixed + self.per_byte * len(payload) > _MOST_BYTES:
            return Rejected("decode", "too_large", f"{len(payload)} bytes could swell past {_MOST_BYTES >> 20} MiB by their schema")
        stream = io.BytesIO(payload)
        try:
            value: Any = fastavro.schemaless_reader(stream, self.parsed, None)
        except _FAULTS as error:
            return Rejected("decode", "invalid_avro", f"the payload is not what its schema describes: {error!r}"[:_MESSAGE_LIMIT])
        if self.is_wrapped:
            value = value["value"]
        if rest := len(payload) - stream.tell():
            return Rejected("decode", "invalid_avro", f"{rest} bytes are left over behind the value that its schema describes")
        if self.floats and _has_nan(value):
            return Rejected("decode", "wrong_type", "a number is NaN or infinite, which JSON does not know")
        try:
            return orjson.dumps(value, option=orjson.OPT_UTC_Z)
        except orjson.JSONEncodeError as error:
            return Rejected("decode", "wrong_type", f"a field has no place in JSON: {error}"[:_MESSAGE_LIMIT])


def avro_schema(text: str) -> AvroSchema:
    """A schema as the registry gives it.

    Raises:
        UnusableSchemaError: it cannot be parsed, refers to others, nests itself, or lets a few bytes ask for any amount of memory.

    """
    schema = _usable(text)
    if isinstance(schema, str):
        raise UnusableSchemaError(schema)
    return schema


@lru_cache(maxsize=1000)
def _usable(text: str) -> AvroSchema | str:
    """The schema, or why no value is decoded by it: either is found once, however many records name it."""
    if len(text) > TEXT_BYTES or nests_deeper(text.encode("utf-8", "replace"), _NESTING):
        return f"expected at most {TEXT_BYTES >> 10} KiB that nest at most {_NESTING} deep"
    try:
        said = orjson.loads(text)
        is_union = isinstance(said, list)
        wrapped = {"type": "record", "name": _WRAPPED, "fields": [{"name": "value", "type": said}]}
        parsed = fastavro.parse_schema(wrapped if is_union else said)
        measured = _Measured()
        size = measured.of(parsed)
    except UnusableSchemaError as error:
        return str(error)
    except _SCHEMA_FAULTS as error:  # as orjson's and fastavro's own are
        return f"it cannot be read: {error!r}"[:_MESSAGE_LIMIT]
    if size.most > _MOST_BYTES:
        return f"one value could take {size.most >> 20} MiB"
    return AvroSchema(parsed, size.most, measured.per_byte, size.floats, is_union)


class _Measured:
    """Measures each named type once, so that types that hold each other twice, and so on, take no time either."""

    def __init__(self) -> None:
        self.per_byte = 0
        self._named: dict[str, _Size | None] = {}

    def of(self, schema: Any) -> _Size:  # noqa: ANN401 - any JSON
        if isinstance(schema, list):
            branches = [self.of(branch) for branch in schema]
            return _Size(
                1 + min(size.least for size in branches),
                max(size.most for size in branches),
                any(size.floats for size in branches),
            )
        kind = schema["type"] if isinstance(schema, dict) else schema
        if not isinstance(kind, str):
            return self.of(kind)
        if kind in _SMALLEST:
            return _Size(_SMALLEST[kind], _VALUE, kind in ("float", "double"))
        if not isinstance(schema, dict):
            return self._known(schema)
        if kind in ("array", "map"):
            return self._many(schema, kind)
        self._named[schema["name"]] = None  # under way
        size = self._made(schema, kind)
        self._named[schema["name"]] = size
        return size

    def _known(self, name: str) -> _Size:
        size = self._named[name]
        if size is None:
            message = f"type {name} holds itself, so a value could nest without end"
            raise UnusableSchemaError(message)
        return size

    def _many(self, schema: Any, kind: str) -> _Size:  # noqa: ANN401
        item = self.of(schema["items" if kind == "array" else "values"])
        least, most = (item.least, item.most) if kind == "array" else (item.least + 1, item.most + _CONTAINER)
        if least == 0:
            message = "an item of an array takes no bytes, so a few could say any number of them"
            raise UnusableSchemaError(message)
        self.per_byte = max(self.per_byte, math.ceil(most / least))
        return _Size(1, _CONTAINER, item.floats)

    def _made(self, schema: Any, kind: str) -> _Size:  # noqa: ANN401
        if kind == "enum":
            return _Size(1, _VALUE + max(len(symbol.encode()) for symbol in schema["symbols"]))
        if kind == "fixed":
            return _Size(int(schema["size"]), _VALUE)
        fields = [(field["name"], self.of(field["type"])) for field in schema["fields"]]
        return _Size(
            sum(size.least for _, size in fields),
            _CONTAINER + sum(_VALUE + len(name.encode()) + size.most for name, size in fields),
            any(size.floats for _, size in fields),
        )


def _has_nan(value: object) -> bool:
    """Whether a number in it is NaN or infinite; it nests no deeper than its schema."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(_has_nan, value.values()))
    return isinstance(value, list) and any(map(_has_nan, value))
