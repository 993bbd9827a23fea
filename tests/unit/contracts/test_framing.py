"""Framed values of registry clients: what they hold comes out as plain JSON or is refused with a reason, whatever the bytes."""

from __future__ import annotations

import io
import json
import time
import tracemalloc
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.contracts.avro import UnusableSchemaError, avro_schema
from infra.contracts.events import Rejected, UserAction
from infra.contracts.framing import AVRO, JSON, Framed, WriterSchema, frame, is_framed, plain_json, unframe
from infra.contracts.in_effect import of_files

decoded = of_files().newest.decoder.decode
USER_ACTION: dict[str, Any] = {
    "type": "record",
    "name": "UserAction",
    "namespace": "shop",
    "fields": [
        {"name": "eventType", "type": {"type": "enum", "name": "EventType", "symbols": ["UserAction", "UserActed"]}},
        {"name": "eventId", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "version", "type": "int"},
        {"name": "source", "type": "string"},
        {"name": "correlationId", "type": "string"},
        {
            "name": "data",
            "type": {
                "type": "record",
                "name": "Data",
                "fields": [
                    {"name": "userId", "type": "string"},
                    {"name": "sessionId", "type": "string"},
                    {"name": "action", "type": "string"},
                    {"name": "platform", "type": ["null", "string"], "default": None},
                    {"name": "lifecycle", "type": ["null", "string"], "default": None},
                ],
            },
        },
    ],
}
AN_ACTION: dict[str, Any] = {
    "eventType": "UserAction",
    "eventId": "7f9c2b1e-3d4a-4c5b-8e6f-0a1b2c3d4e5f",
    "timestamp": datetime(2024, 3, 13, 10, 22, 12, 345000, UTC),
    "version": 1,
    "source": "shop/app",
    "correlationId": "sess_1",
    "data": {"userId": "user_0001", "sessionId": "sess_1", "action": "product_view", "platform": "ios", "lifecycle": None},
}


def written(schema: Any, value: object) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), value)
    return stream.getvalue()


def answered(schema: object, payload: bytes) -> Any:
    """The value as a JSON reader sees it, or the reason of its refusal."""
    answer = avro_schema(json.dumps(schema)).to_json(payload)
    return answer.reason if isinstance(answer, Rejected) else json.loads(answer)


def of(field_type: object) -> dict[str, Any]:
    return {"type": "record", "name": "R", "fields": [{"name": "x", "type": field_type}]}


@given(st.integers(0, 2**32 - 1), st.binary(max_size=50))
def test_what_is_framed_is_unframed(schema_id: int, payload: bytes) -> None:
    assert unframe(frame(schema_id, payload)) == Framed(schema_id, payload)


@given(st.recursive(st.none() | st.booleans() | st.text(max_size=5), lambda part: st.lists(part) | st.dictionaries(st.text(), part)))
def test_no_json_is_taken_for_a_framed_value(value: object) -> None:
    for text in (json.dumps(value), json.dumps(value, indent=2), "\n\t " + json.dumps(value, ensure_ascii=False)):
        assert unframe(text.encode()) is None


@pytest.mark.parametrize("value", [None, b"", b"\0", b"\0\0\0\0", b"{\0\0\0\1", b"\1\0\0\0\1{}"])
def test_what_is_cut_or_begins_otherwise_is_not_framed(value: bytes | None) -> None:
    assert unframe(value) is None
    assert not is_framed(value)


@pytest.mark.parametrize("schema_id", [-1, 2**32])
def test_an_id_past_four_bytes_is_refused(schema_id: int) -> None:
    with pytest.raises(ValueError, match="a schema id lies between 0 and 4294967295"):
        frame(schema_id, b"{}")


def test_json_is_the_payload_and_avro_becomes_the_same_event() -> None:
    plain = json.dumps(AN_ACTION | {"timestamp": "2024-03-13T10:22:12.345Z"}).encode()
    assert plain_json(Framed(1, plain), WriterSchema(JSON, "{}")) == plain
    made = plain_json(Framed(2, written(USER_ACTION, AN_ACTION)), WriterSchema(AVRO, json.dumps(USER_ACTION)))
    assert isinstance(made, bytes)
    event = decoded(made)
    assert isinstance(event, UserAction)
    assert event == decoded(plain)


def test_an_id_that_is_not_known_and_a_kind_that_is_not_read_say_so() -> None:
    refused = plain_json(Framed(77, b"{}"), None)
    assert isinstance(refused, Rejected)
    assert (refused.step, refused.reason) == ("decode", "unknown_schema")
    assert "77" in refused.message
    other = plain_json(Framed(78, b"\0"), WriterSchema("PROTOBUF", 'syntax = "proto3";'))
    assert isinstance(other, Rejected)
    assert (other.step, other.reason) == ("decode", "unusable_schema")
    assert "PROTOBUF" in other.message


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("null", None, None),
        ({"type": "long", "logicalType": "timestamp-micros"}, datetime(2024, 3, 1, 0, 0, 0, 1, UTC), "2024-03-01T00:00:00.000001Z"),
        ({"type": "string", "logicalType": "uuid"}, UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        ({"type": "int", "logicalType": "date"}, datetime(2024, 3, 1, tzinfo=UTC).date(), "2024-03-01"),
        ({"type": "string", "logicalType": "of-ours"}, "as it is", "as it is"),
        ({"type": "enum", "name": "E", "symbols": ["a", "b"]}, "b", "b"),
        ({"type": "array", "items": {"type": "map", "values": "double"}}, [{"a": 1.5}, {}], [{"a": 1.5}, {}]),
        (["null", "int", "string"], "text", "text"),
        ("long", -(2**63), -(2**63)),
        ("string", '"\\\n\0é', '"\\\n\0é'),
    ],
)
def test_each_type_has_its_json(field: object, value: object, expected: object) -> None:
    assert answered(of(field), written(of(field), {"x": value})) == {"x": expected}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("bytes", b"ab"),
        ({"type": "fixed", "name": "F", "size": 2}, b"ab"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, Decimal("1.25")),
        ("double", float("nan")),
        ({"type": "array", "items": ["null", "float"]}, [None, float("inf")]),
    ],
)
def test_what_has_no_place_in_json_is_a_wrong_type(field: object, value: object) -> None:
    assert answered(of(field), written(of(field), {"x": value})) == "wrong_type"


@pytest.mark.parametrize(
    ("field", "payload"),
    [
        ("string", b"\x03abc"),  # a length below zero
        ("string", b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7fabc"),
        ("string", b"\x04\xff\xff"),
        ({"type": "array", "items": "int"}, b"\x80\x80\x80\x80\x80\x80\x80\x80\x01\x02\x02"),  # 2**55 items
        ({"type": "array", "items": "int"}, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02"),  # -2**63 items
        (["null", "string"], b"\x06a"),
        ({"type": "enum", "name": "E", "symbols": ["a"]}, b"\x06"),
        ({"type": "long", "logicalType": "timestamp-millis"}, b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f"),
        ({"type": "string", "logicalType": "uuid"}, b"\x02a"),
        ("double", b"ab"),
        ("int", b""),
        ("int", b"\x02\x02"),  # one byte too many
    ],
)
def test_bytes_that_are_not_what_the_schema_describes_are_refused(field: object, payload: bytes) -> None:
    assert answered(of(field), payload) == "invalid_avro"


NONE_AT_ALL: list[Any] = [5, None, {}, [], {"type": "array"}, {"type": "record", "name": "A", "fields": 5}, True]
RECURSIVE = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}
LAUGHS: Any = {"type": "record", "name": "N0", "fields": []}
for _level in range(1, 28):
    LAUGHS = {
        "type": "record",
        "name": f"N{_level}",
        "fields": [{"name": "a", "type": LAUGHS}, {"name": "b", "type": f"N{_level - 1}"}],
    }


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (RECURSIVE, "holds itself"),
        (of({"type": "array", "items": RECURSIVE}), "holds itself"),
        (LAUGHS, "could take"),
        (of({"type": "array", "items": "null"}), "takes no bytes"),
        (of({"type": "array", "items": {"type": "record", "name": "Empty", "fields": [{"name": "n", "type": "null"}]}}), "takes no bytes"),
        (of({"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}), "takes no bytes"),
        (of("shop.Elsewhere"), "cannot be read"),
        (of({"type": "enum", "name": "E", "symbols": []}), "cannot be read"),
        (of({"type": "array", "items": ["null", {"type": "array", "items": "nothing"}]}), "cannot be read"),
        (json.loads("[" * 99 + '"null"' + "]" * 99), None),
        (json.loads("[" * 101 + '"null"' + "]" * 101), "nest at most"),
        ("x" * 600_000, "at most 512 KiB"),
        # what a registry takes that holds no schema to the specification
        (of({"type": "bytes", "logicalType": "decimal", "precision": 2, "scale": 5}), "cannot be read"),
        (of([of("int") | {"name": "Twice"}, of("text") | {"name": "Twice"}]), "cannot be read"),
        (["null", of("int") | {"name": "streamhouse.Wrapped"}], "cannot be read"),
        *((bad, "cannot be read") for bad in NONE_AT_ALL),
    ],
)
def test_a_schema_that_cannot_be_read_by_in_bounded_memory_is_not_used(schema: object, why: str | None) -> None:
    began = time.monotonic()
    if why is None:
        avro_schema(json.dumps(schema))
    else:
        with pytest.raises(UnusableSchemaError, match=why):
            avro_schema(json.dumps(schema))
        refused = plain_json(Framed(3, b"\0"), WriterSchema(AVRO, json.dumps(schema)))
        assert isinstance(refused, Rejected)
        assert refused.reason == "unusable_schema"
    assert time.monotonic() - began < 5


def test_a_value_of_a_union_of_many_is_read_as_quickly_as_one_of_few() -> None:
    def seconds(schema: list[object]) -> float:
        payload, read = written(schema, {"f0": 7}), avro_schema(json.dumps(schema))
        began = time.perf_counter()
        for _ in range(50):
            assert read.to_json(payload) == b'{"f0":7}'
        return time.perf_counter() - began

    branches: list[object] = [{"type": "record", "name": f"R{i}", "fields": [{"name": f"f{i}", "type": "int"}]} for i in range(500)]
    assert min(seconds(branches) for _ in range(3)) < 10 * min(seconds(branches[:2]) for _ in range(3)) + 0.01


def test_text_that_is_no_json_is_no_schema() -> None:
    for text in ("", "{", "nul", "\ud800"):
        with pytest.raises(UnusableSchemaError):
            avro_schema(text)


def test_a_megabyte_that_its_schema_would_swell_is_refused_before_it_is_read() -> None:
    wide = {
        "type": "record",
        "name": "W",
        "fields": [{"name": f"n{i}", "type": "null"} for i in range(200)] + [{"name": "b", "type": "int"}],
    }
    long_symbol = {"type": "enum", "name": "E", "symbols": ["s" * 10_000]}
    for items in (wide, long_symbol):
        payload = b"\x80\x80\x80\x01" + b"\0" * (1 << 20) + b"\0"  # 1,048,576 items of a byte each
        tracemalloc.start()
        assert answered(of({"type": "array", "items": items}), payload) == "too_large"
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
        tracemalloc.stop()
    honest = written(of({"type": "array", "items": "string"}), {"x": ["a text of some length"] * 40_000})
    assert len(answered(of({"type": "array", "items": "string"}), honest)["x"]) == 40_000


TYPES = st.recursive(
    st.sampled_from(["null", "boolean", "int", "long", "float", "double", "string", "bytes"])
    | st.sampled_from(["timestamp-millis", "timestamp-micros", "time-micros", "local-timestamp-millis"]).map(
        lambda name: {"type": "long", "logicalType": name}
    )
    | st.sampled_from(["date", "time-millis"]).map(lambda name: {"type": "int", "logicalType": name})
    | st.just({"type": "string", "logicalType": "uuid"})
    | st.just({"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 2}),
    lambda part: st.one_of(
        part.map(lambda items: {"type": "array", "items": items}),
        part.map(lambda values: {"type": "map", "values": values}),
        st.lists(part.filter(lambda one: not isinstance(one, list)), min_size=1, max_size=3),
        st.lists(part, max_size=3).map(lambda fields: {"type": "record", "name": "", "fields": fields}),
    ),
    max_leaves=8,
)


def named(schema: Any, names: list[int]) -> Any:
    """The same with names for records and fields."""
    if isinstance(schema, list):
        return [named(branch, names) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    if schema["type"] == "record":
        names.append(0)
        name = f"R{len(names)}"
        return {
            "type": "record",
            "name": name,
            "fields": [{"name": f"f{i}", "type": named(one, names)} for i, one in enumerate(schema["fields"])],
        }
    return {key: named(value, names) if key in ("items", "values") else value for key, value in schema.items()}


@given(TYPES, st.binary(max_size=200))
def test_whatever_schema_and_bytes_come_the_answer_is_strict_json_or_a_reason(schema: object, payload: bytes) -> None:
    text = json.dumps(of(named(schema, [])))
    answer = plain_json(Framed(1, payload), WriterSchema(AVRO, text))
    assert answer == plain_json(Framed(1, payload), WriterSchema(AVRO, text))
    if isinstance(answer, Rejected):
        assert answer.step == "decode"
        assert answer.reason in ("invalid_avro", "wrong_type", "unusable_schema", "too_large")
    else:
        json.loads(answer)
        decoded(answer)


@given(st.binary(max_size=120), st.integers(0, 100), st.integers(0, 2**64 - 1))
def test_a_spoilt_action_is_an_action_or_a_reason(noise: bytes, at: int, mask: int) -> None:
    payload = bytearray(written(USER_ACTION, AN_ACTION))
    payload[at : at + 8] = (int.from_bytes(payload[at : at + 8]) ^ mask).to_bytes(8)
    for value in (bytes(payload), bytes(payload) + noise, bytes(payload)[:at], noise):
        made = plain_json(Framed(9, value), WriterSchema(AVRO, json.dumps(USER_ACTION)))
        event = made if isinstance(made, Rejected) else decoded(made)
        assert isinstance(event, UserAction | Rejected)
