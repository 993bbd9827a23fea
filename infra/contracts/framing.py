"""Values as registry clients frame them: a zero byte, the schema's id as four big-endian bytes, the payload. Pure.

No JSON begins with a zero byte, so a value is either framed or plain and never both. Not read: an id in a header (`__value_schema_id`,
which holds a GUID; JSON that is sent so is plain JSON here), and the eight-byte ids of Apicurio's older clients, whose numbers are others.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from infra.contracts.avro import UnusableSchemaError, avro_schema
from infra.contracts.events import Rejected

JSON, AVRO = "JSON", "AVRO"
_HEADER = struct.Struct(">xI")
_MOST_ID = 2**32 - 1


@dataclass(frozen=True)
class Framed:
    """What stands in a framed value."""

    schema_id: int
    payload: bytes


@dataclass(frozen=True)
class WriterSchema:
    """A schema as the registry holds it: `kind` JSON, AVRO, or another that is not read here."""

    kind: str
    text: str


def is_framed(value: bytes | None) -> bool:
    """Whether a value begins as framed ones do, and has room for an id."""
    return value is not None and value[:1] == b"\0" and len(value) >= _HEADER.size


def framed_at(values: Sequence[bytes | None]) -> list[int]:
    """The positions of those that begin so."""
    return [i for i, value in enumerate(values) if value and value[0] == 0 and is_framed(value)]


def unframe(value: bytes | None) -> Framed | None:
    """The schema's id and the payload; None: the value is plain."""
    if value is None or not is_framed(value):
        return None
    return Framed(_HEADER.unpack_from(value)[0], value[_HEADER.size :])


def payload(value: bytes | None) -> bytes | None:
    """The JSON of a value that this system wrote, framed or not: its schema is known here, whatever its id."""
    return value[_HEADER.size :] if value is not None and is_framed(value) else value


def frame(schema_id: int, payload: bytes) -> bytes:
    """A payload as registry clients expect it.

    Raises:
        ValueError: an id that does not fit four bytes.

    """
    if not 0 <= schema_id <= _MOST_ID:
        message = f"a schema id lies between 0 and {_MOST_ID}, got {schema_id}"
        raise ValueError(message)
    return _HEADER.pack(schema_id) + payload


def plain_json(framed: Framed, schema: WriterSchema | None) -> bytes | Rejected:
    """The JSON of a framed value, which is validated as any other; `schema` None: the registry does not know its id."""
    if schema is None:
        return Rejected(
            "decode",
            "unknown_schema",
            f"the schema registry did not know id {framed.schema_id} when this record was read; register the schema, then send it again",
        )
    if schema.kind == JSON:
        return framed.payload
    if schema.kind != AVRO:
        return Rejected("decode", "unusable_schema", f"schema {framed.schema_id} is of type {schema.kind[:40]!r}; expected JSON or AVRO")
    try:
        return avro_schema(schema.text).to_json(framed.payload)
    except UnusableSchemaError as error:
        return Rejected("decode", "unusable_schema", f"schema {framed.schema_id}: {error}")
