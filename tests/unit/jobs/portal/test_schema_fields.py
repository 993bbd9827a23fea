from __future__ import annotations

from typing import Any

import pytest

from infra.contracts.load import load_contracts
from jobs.portal.schema_fields import fields, limits


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({}, ""),
        ({"const": "UserAction"}, "always UserAction"),
        ({"enum": ["a", None, True]}, "one of a, null, true"),
        ({"minimum": 0}, "at least 0"),
        ({"maximum": 1_000_000}, "at most 1,000,000"),
        ({"minLength": 1, "maxLength": 128}, "1 to 128 characters"),
        ({"minItems": 1}, "at least 1 entries"),
        ({"exclusiveMinimum": 0, "format": "uuid"}, "above 0; a uuid"),
        ({"pattern": "^[a-z]+$"}, "as ^[a-z]+$"),
        ({"items": {"maxLength": 9}}, "each at most 9 characters"),
    ],
)
def test_limits_in_words(schema: dict[str, Any], said: str) -> None:
    assert limits(schema) == said


def test_fields_of_objects_and_lists_follow_their_holder() -> None:
    line = {
        "type": "object",
        "required": ["sku"],
        "properties": {"sku": {"type": "string", "unit": "identifier"}, "note": {"type": ["string", "null"]}},
    }
    schema = {"required": ["data"], "properties": {"data": {"type": "object", "properties": {"items": {"type": "array", "items": line}}}}}
    assert [(one.path, one.type, one.unit, one.required) for one in fields(schema)] == [
        ("data", "object", "", True),
        ("data.items", "array of object", "", False),
        ("data.items[].sku", "string", "identifier", True),
        ("data.items[].note", "string or null", "", False),
    ]


def test_every_field_of_every_contract_has_a_unit_and_a_description() -> None:
    for schema in load_contracts().schemas.values():
        found = fields(schema.document)
        assert len(found) > 6
        assert not [one.path for one in found if not one.unit or not one.description], schema.file
