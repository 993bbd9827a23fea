"""What `narrower` passes takes all that was taken before; and the types made of a schema take what the schema takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from infra.contracts.accepts import narrower
from infra.contracts.columns import iceberg_type
from infra.contracts.load import ContractError, load_anew, load_contracts
from infra.contracts.structs import field_type, snake, undecodable
from tests.contracts.edits import added, copied

SMALL = st.integers(-3, 6)
SCALARS = st.one_of(st.none(), st.booleans(), SMALL, st.sampled_from([0.5, -2.5]), st.sampled_from(["", "a", "ab", "abc", "b\n"]))
VALUES = st.recursive(
    SCALARS, lambda part: st.lists(part, max_size=3) | st.dictionaries(st.sampled_from("abc"), part, max_size=3), max_leaves=6
)
TYPES = st.sampled_from(["string", "integer", "number", "boolean", "null"])


def scalars() -> st.SearchStrategy[dict[str, Any]]:
    limits = {
        "minLength": st.integers(0, 2),
        "maxLength": st.integers(0, 3),
        "minimum": SMALL,
        "maximum": SMALL,
        "enum": st.lists(st.sampled_from(["a", "ab", "b"]), min_size=1, max_size=3, unique=True),
        "pattern": st.sampled_from(["^a", "^[ab]*$"]),
    }
    return st.fixed_dictionaries({"type": st.one_of(TYPES, st.lists(TYPES, min_size=1, max_size=2, unique=True))}, optional=limits)


def objects(part: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    fields = st.dictionaries(st.sampled_from("abc"), part, max_size=3)
    none = st.just(dict[str, Any]())
    others = none | st.just({"additionalProperties": False}) | part.map(lambda made: {"additionalProperties": made})
    return st.tuples(fields, st.lists(st.sampled_from("abc"), unique=True, max_size=2), others).map(
        lambda made: {"type": "object", "properties": made[0], "required": made[1], **made[2]}
    )


def arrays(part: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    none = st.just(dict[str, Any]())
    items = none | part.map(lambda made: {"items": made}) | st.lists(part, max_size=2).map(lambda made: {"items": made})
    return st.tuples(items, st.integers(0, 3)).map(lambda made: {"type": "array", "maxItems": made[1], **made[0]})


SCHEMAS = st.recursive(scalars(), lambda part: objects(part) | arrays(part), max_leaves=4)


@settings(max_examples=400)
@given(SCHEMAS, SCHEMAS, st.lists(VALUES, min_size=1, max_size=8))
def test_what_is_not_narrower_takes_all_that_was_taken(old: dict[str, Any], new: dict[str, Any], values: list[Any]) -> None:
    if list(narrower(old, new)):
        return
    for value in values:
        assert not Draft7Validator(old).is_valid(value) or Draft7Validator(new).is_valid(value)


@settings(max_examples=200)
@given(SCHEMAS)
def test_nothing_is_narrower_than_itself(schema: dict[str, Any]) -> None:
    assert list(narrower(schema, schema)) == []


FIELD = {"type": "string", "maxLength": 64}
OBJECT = {"type": "object", "additionalProperties": False, "required": ["a"], "properties": {"a": FIELD, "b": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (FIELD, {"type": "string", "maxLength": 32}, "the value: maxLength 64 -> 32"),
        (FIELD, {"type": "string", "maxLength": 64, "pattern": "^a"}, "the value: pattern none -> '^a'"),
        ({"type": ["string", "null"]}, {"type": "string"}, "null or string -> string, which takes no null"),
        ({"type": "number"}, {"type": "integer"}, "number -> integer"),
        ({"type": "integer"}, {"type": "number"}, ""),
        ({"const": 1}, {"enum": [1, 2]}, ""),
        ({"enum": ["a", "b"]}, {"enum": ["a"]}, "enum"),
        ({"type": "string", "new": 1}, {"type": "string", "new": 2}, "new 1 -> 2"),
        (OBJECT, OBJECT | {"required": ["a", "b"]}, "b: optional -> required"),
        (OBJECT, OBJECT | {"required": ["a", "c"]}, "c: not there -> required"),
        (OBJECT, OBJECT | {"properties": {"a": FIELD}}, "b: there -> not there"),
        (OBJECT, OBJECT | {"properties": {"a": FIELD, "b": {"type": "number"}, "c": {}}}, ""),
        ({"type": "array", "items": FIELD}, {"type": "array", "items": {"type": "integer"}}, "[]: string -> integer"),
    ],
)
def test_what_is_narrower_is_said(old: dict[str, Any], new: dict[str, Any], says: str) -> None:
    phrases = list(narrower(old, new))
    assert (says in phrases[0] and len(phrases) == 1) if says else phrases == []


@settings(max_examples=400)
@given(SCHEMAS.map(lambda schema: tidy(schema)), st.lists(VALUES, min_size=1, max_size=6))
def test_a_type_takes_what_its_schema_takes(schema: dict[str, Any], values: list[Any]) -> None:
    decoder = msgspec.json.Decoder(field_type(schema, "Made"))
    for value in values:
        try:
            decoder.decode(json.dumps(value))
            taken = True
        except msgspec.ValidationError:
            taken = False
        assert taken == Draft7Validator(schema).is_valid(value)


def tidy(schema: dict[str, Any]) -> dict[str, Any]:
    """As contracts are written: required fields are described, an enum is of texts and says all; objects are open, as decoders read."""
    if "enum" in schema:
        return {"type": "string", "enum": schema["enum"]}
    made = {name: part for name, part in schema.items() if name != "additionalProperties" and not (name == "pattern" and "$" in part)}
    if "properties" in made:
        made["properties"] = {name: tidy(part) for name, part in made["properties"].items()}
        made["required"] = [name for name in made["required"] if name in made["properties"]]
    if "items" in made and not isinstance(made["items"], list):
        made["items"] = tidy(made["items"])
    return {name: part for name, part in made.items() if not isinstance(part, list) or name != "items"}


@pytest.mark.parametrize(("name", "snakes"), [("userId", "user_id"), ("sha256", "sha256"), ("a1B", "a1_b"), ("action", "action")])
def test_names_of_columns(name: str, snakes: str) -> None:
    assert snake(name) == snakes


def test_every_schema_of_ours_can_be_decoded() -> None:
    for schema in load_contracts().schemas.values():
        assert list(undecodable(schema.document)) == []


@pytest.mark.parametrize(
    ("schema", "what"),
    [
        ({"oneOf": [{"type": "string"}]}, "the value: oneOf"),
        ({"type": "string", "format": "email"}, "format email"),
        ({"type": "object", "properties": {"a": {"type": "array", "items": {"$ref": "#"}}}}, "a[]: $ref"),
        ({"enum": [1.5]}, "enum of other values"),
        ({"type": "integer", "enum": [1, "a"]}, "the value: enum 'a', which is no integer"),
        ({"type": ["number", "null"], "enum": [1, "a"]}, "the value: enum 'a', which is no null or number"),
        ({"type": "string", "const": 1}, "the value: const 1, which is no string"),
        ({"type": "object", "properties": {"a": {"type": "string", "const": None}}}, "a: const None, which is no string"),
        ({"type": "string", "pattern": "(?<a"}, "pattern"),
        ({"type": "number", "minimum": 0, "exclusiveMinimum": 0}, "limits that msgspec does not take: Cannot specify both"),
        ({"type": "array", "items": {"type": "string", "maxLength": 2**63}}, "[]: limits that msgspec does not take"),
        ({"type": "number", "maximum": 10**400}, "limits that msgspec does not take"),
        ({"const": 2**63}, "limits that msgspec does not take"),
        ({"enum": [1, 2**64]}, "limits that msgspec does not take"),
        (
            {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$", "maxLength": 64}}},
            "a: pattern '^(a+)+$', with a re",
        ),
    ],
)
def test_what_the_decoder_cannot_ask_is_named(schema: dict[str, Any], what: str) -> None:
    assert what in next(undecodable(schema))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": ["integer", "null"], "enum": [1, 2]},
        {"type": "number", "enum": [1]},
        {"type": "string", "const": "a"},
        {"enum": ["a", 1]},
        {"const": None},
        {"type": "integer", "exclusiveMinimum": 0},
        {"type": ["integer", "null"], "exclusiveMinimum": 0, "exclusiveMaximum": 9},
        {"type": "integer", "minimum": 0, "exclusiveMaximum": 2**63 - 1},
        {"type": "null", "const": None},
    ],
)
def test_what_a_decoder_can_ask_is_not_named(schema: dict[str, Any]) -> None:
    assert list(undecodable(schema)) == []
    msgspec.json.Decoder(field_type(schema, "Made"))


@pytest.mark.parametrize(
    ("limits", "kind"),
    [
        ({"enum": [1, 2]}, "int"),
        ({"enum": [1, 2**40]}, "long"),
        ({"const": 7}, "int"),
        ({"enum": ["a"]}, "long"),
        ({"enum": [1, "a", None]}, "int"),
        ({"const": [1]}, "long"),
        ({"const": True}, "long"),
    ],
)
def test_a_column_of_whole_numbers_is_as_wide_as_those_that_are_listed(limits: dict[str, Any], kind: str) -> None:
    assert iceberg_type({"type": "integer", **limits}) == kind


@pytest.mark.parametrize(("limits", "said"), [({"enum": ["a"]}, "enum 'a'"), ({"const": [1]}, "const [1]")])
def test_values_of_another_type_are_a_sentence_among_the_others(limits: dict[str, Any], said: str, tmp_path: Path) -> None:
    folder = copied(tmp_path / "contracts")
    added("UserAction", "size", "integer", "How large.", "", **limits)(folder)
    with pytest.raises(ContractError) as refused:
        load_anew(folder)
    assert f"got data.size: {said}, which is no" in str(refused.value)
    assert "a unit of data.size, got nothing" in str(refused.value)
