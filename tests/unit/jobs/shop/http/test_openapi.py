"""What the OpenAPI document says is what the service does: its schemas, and those of the messages that requests become."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, get_args

import jsonschema
import msgspec
import pytest
from fastapi import FastAPI
from msgspec import Struct
from sqlalchemy import create_engine

from infra.config import load_settings
from infra.contracts.load import load_contracts
from jobs.shop.http.app import application
from jobs.shop.http.bodies import CancelRequest, OrderLine, OrderPrediction, OrderRequest, OrderSummary, Status
from jobs.shop.http.health import Health
from jobs.shop.http.reader import Reader
from jobs.shop.http.sender import Sender
from jobs.shop.messages import STATUS, CancelOrder, Item, PlaceOrder
from jobs.shop.order_predictions import ORDER_PREDICTIONS
from jobs.shop.order_summaries import ORDER_SUMMARIES

LIMITS = ("type", "minLength", "maxLength", "minimum", "maximum")
EXAMPLES = [example for example in load_contracts().topics["order-commands"].valid if example.name.startswith("place-order")]


@pytest.fixture(scope="module")
def app() -> Iterator[FastAPI]:
    settings, database = load_settings({}), create_engine("sqlite://")
    reader = Reader(database, 1)
    yield application(Sender(1, 1), reader, Health(settings, reader), settings.shop_http, lambda: "fresh")
    database.dispose()


@pytest.fixture(scope="module")
def said(app: FastAPI) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(app.openapi()))
    return document


def schema(kind: type[Struct]) -> dict[str, Any]:
    (_,), components = msgspec.json.schema_components([kind])
    found: dict[str, Any] = components[kind.__name__]["properties"]
    return found


@pytest.mark.parametrize(("request_", "message"), [(OrderRequest, PlaceOrder), (OrderLine, Item), (CancelRequest, CancelOrder)])
def test_a_request_has_the_fields_and_limits_of_its_message(request_: type[Struct], message: type[Struct]) -> None:
    ours, theirs = schema(request_), schema(message)
    assert set(ours) | {"orderId"} == set(theirs) | {"orderId"}
    for name, field in ours.items():
        pairs = zip(field.get("anyOf", [field]), theirs[name].get("anyOf", [theirs[name]]), strict=False)
        for mine, its in pairs:
            assert {word: mine.get(word) for word in LIMITS} == {word: its.get(word) for word in LIMITS}, name


@pytest.mark.parametrize(("answer", "projection"), [(OrderSummary, ORDER_SUMMARIES), (OrderPrediction, ORDER_PREDICTIONS)])
def test_an_answer_has_the_columns_of_its_read_model(answer: type[Struct], projection: Any) -> None:
    assert [field.name for field in msgspec.structs.fields(answer)] == [column.name for column in projection.view.columns]


def test_the_statuses_are_those_of_the_read_model() -> None:
    assert list(get_args(Status)) == list(STATUS.values())


def test_each_address_is_described(said: dict[str, Any]) -> None:
    described = {(path, method) for path, methods in said["paths"].items() for method in methods}
    assert described == {
        ("/orders", "post"),
        ("/orders", "get"),
        ("/orders/{orderId}", "get"),
        ("/orders/{orderId}/cancel", "post"),
        ("/orders/{orderId}/prediction", "get"),
        ("/health", "get"),
    }


def test_the_document_holds_together_and_each_field_is_described(said: dict[str, Any]) -> None:
    assert said["openapi"].startswith("3.1")
    schemas = said["components"]["schemas"]
    for part in said["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(part)
        for name, field in part["properties"].items():
            texts = [field.get("description"), *(one.get("description") for one in field.get("anyOf", []))]
            assert any(texts), f"{part['title']}.{name}"
    for reference in references(said):
        assert reference.removeprefix("#/components/schemas/") in schemas
    for methods in said["paths"].values():
        for operation in methods.values():
            assert operation["summary"]
            assert "description" in operation
            assert all(parameter["description"] for parameter in operation["parameters"])
            assert {"200", "201", "202"} & set(operation["responses"])
            assert all(answer["description"] for answer in operation["responses"].values())


def references(of: Any) -> Iterator[str]:
    if isinstance(of, dict):
        if isinstance(of.get("$ref"), str):
            yield of["$ref"]
        for value in of.values():
            yield from references(value)
    elif isinstance(of, list):
        for value in of:
            yield from references(value)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_the_contracts_examples_are_orders_by_the_document(said: dict[str, Any], example: Any) -> None:
    schema = {**said, "$ref": said["paths"]["/orders"]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]}
    order = json.loads(example.value)["data"]
    check = jsonschema.Draft202012Validator(schema)
    check.validate(order)
    assert not check.is_valid({**order, "price": 1})
    assert not check.is_valid({name: value for name, value in order.items() if name != "userId"})
    assert not check.is_valid({**order, "items": [{"sku": "a", "quantity": 0, "unitCents": 1}]})
