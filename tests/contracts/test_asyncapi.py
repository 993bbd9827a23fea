"""What the portal exports is AsyncAPI 3.0.0 by AsyncAPI's own schema, and says of the contracts what they say."""

from __future__ import annotations

import copy
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from infra.portal.asyncapi import asyncapi
from tests.portal import deprecated, ours

SCHEMA = json.loads(gzip.decompress((Path(__file__).parent / "asyncapi" / "3.0.0.json.gz").read_bytes()))
VALIDATOR = Draft7Validator(SCHEMA)


def problems(document: dict[str, Any]) -> list[str]:
    return [f"{'/'.join(map(str, error.path))}: {error.message[:200]}" for error in VALIDATOR.iter_errors(document)]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return asyncapi(ours(), "127.0.0.1:19092")


def test_the_document_keeps_the_specification(document: dict[str, Any]) -> None:
    assert problems(document) == []
    assert problems(yaml.safe_load(yaml.safe_dump(document, allow_unicode=True))) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("asyncapi", "2.6.0"),
        ("info/title", 3),
        ("channels/orders/adress", "orders"),
        ("channels/orders/messages", []),
        ("operations/order-send-orders/action", "publish"),
        ("components/messages/orders~OrderPlaced~v1/examples", {}),
        ("components/schemas/OrderPlaced~v1/required", "data"),
        ("servers/broker/protocol", None),
    ],
)
def test_the_check_of_the_specification_can_fail(document: dict[str, Any], path: str, value: object) -> None:
    broken = copy.deepcopy(document)
    *folders, last = [part.replace("~", ".") for part in path.split("/")]
    part = broken
    for folder in folders:
        part = part[folder]
    part[last] = value
    assert problems(broken)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    found = list(references(document))
    assert len(found) > 150
    for reference in found:
        part: Any = document
        for name in reference.removeprefix("#/").split("/"):
            part = part[name]


def references(part: Any) -> Any:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def test_it_has_every_topic_version_and_program_and_nothing_else(document: dict[str, Any]) -> None:
    catalogue = ours()
    assert list(document["channels"]) == [topic.name for topic in catalogue.topics]
    wanted = {f"{topic.name}.{one.event_type}.v{one.version}" for topic in catalogue.topics for one in topic.versions}
    assert set(document["components"]["messages"]) == wanted
    said = {
        (operation["action"], operation["channel"]["$ref"], operation["title"].split(" sends ")[0].split(" receives ")[0])
        for operation in document["operations"].values()
    }
    contracted = {("send", f"#/channels/{topic.name}", name) for topic in catalogue.topics for name in topic.producers}
    contracted |= {("receive", f"#/channels/{topic.name}", name) for topic in catalogue.topics for name in topic.consumers}
    assert said == contracted


def test_each_example_keeps_its_schema(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    examples = [
        (message["payload"]["$ref"].rpartition("/")[2], example["payload"])
        for message in document["components"]["messages"].values()
        for example in message.get("examples", ())
    ]
    assert len(examples) > 60
    for schema, payload in examples:
        assert list(Draft7Validator(schemas[schema]).iter_errors(payload)) == []


def test_a_deprecated_version_is_marked_where_it_is_read() -> None:
    document = asyncapi(deprecated(ours(), "orders", "OrderPlaced", "2027-06-30"), "127.0.0.1:19092")
    assert problems(document) == []
    old, new = (document["components"]["messages"][f"orders.OrderPlaced.v{version}"] for version in (1, 2))
    assert old["title"] == "OrderPlaced 1 (deprecated, ends 2027-06-30)"
    assert old["x-deprecated"] == {"ends": "2027-06-30", "owner": "order-team", "replacement": "OrderPlaced 2"}
    assert document["components"]["schemas"]["OrderPlaced.v1"]["deprecated"] is True
    assert "deprecated" not in document["components"]["schemas"]["OrderPlaced.v2"]
    assert new["x-follows-version-before"] == ["all names stay"]


def test_units_stand_beside_fields_as_extensions_and_a_field_of_that_name_stays(document: dict[str, Any]) -> None:
    data = document["components"]["schemas"]["UserAction.v1"]["properties"]["data"]["properties"]
    assert data["userId"]["x-unit"] == "identifier"
    assert not [name for name, field in data.items() if "unit" in field]
