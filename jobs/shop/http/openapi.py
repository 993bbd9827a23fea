"""The OpenAPI document: bodies, queries and answers are described by the very types that they are read and written with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from msgspec import Struct

from jobs.shop.http.bodies import (
    CancelRequest,
    HealthReport,
    NoQuery,
    OrderChanged,
    OrderPage,
    OrderPrediction,
    OrderRequest,
    OrderSummary,
    ProblemDocument,
)
from jobs.shop.http.problems import MEDIA_TYPE
from jobs.shop.http.requests import ETAG_PATTERN, IDEMPOTENCY_KEY_PATTERN

_BODIES = (OrderRequest, CancelRequest, OrderChanged, OrderSummary, OrderPage, OrderPrediction, HealthReport, ProblemDocument)
_REF = "#/components/schemas/{name}"
_ETAG = {"ETag": {"description": "The order's version in quotes (number from 1).", "schema": {"type": "string", "pattern": ETAG_PATTERN}}}
_LOCATION = {"Location": {"description": "The order's address (path).", "schema": {"type": "string"}}}
_AFTER = {"Retry-After": {"description": "When to send it again (seconds).", "schema": {"type": "integer"}}}
PROBLEMS = {
    400: "The body is no JSON, or a header has another form.",
    404: "There is no such order, or the read model does not show it yet.",
    408: "The body did not come in time.",
    409: "The order's state forbids it: already_placed, too_late.",
    412: "The order has another version than If-Match says.",
    413: "The body is too large.",
    415: "The body is not application/json.",
    422: "A field is unknown, missing or past its limit, or the order is refused: no_items, repeated_item, no_price, key_reused ...",
    503: "Broker, order service or read model did not answer in time. Sending it again is safe with the idempotencyKey that is told.",
}
KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same request with the same key is accepted once, and answered alike; choose one that nobody else uses (text).",
    "schema": {"type": "string", "pattern": IDEMPOTENCY_KEY_PATTERN},
}
IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "description": "The version that the order must have, as ETag gave it (number from 1, in quotes).",
    "schema": {"type": "string", "pattern": ETAG_PATTERN},
}
IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "description": "The version that the client has already, as ETag gave it (number from 1, in quotes).",
    "schema": {"type": "string"},
}


def operation(
    *,
    answers: Mapping[int, tuple[type[Struct] | None, str]],
    problems: Sequence[int] = (),
    body: type[Struct] | None = None,
    query: type[Struct] = NoQuery,
    of_order: bool = True,
    headers: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """What is said of one address and method. `of_order`: the address names an order."""
    parameters = [*_queried(query), *headers]
    if of_order:
        parameters.insert(0, {"name": "orderId", "in": "path", "required": True, "description": "The order.", "schema": {"type": "string"}})
    said: dict[str, Any] = {"parameters": parameters, "responses": {}}
    for status, (kind, text) in answers.items():
        answer: dict[str, Any] = {"description": text}
        if kind is not None:
            answer["content"] = {"application/json": {"schema": {"$ref": _REF.format(name=kind.__name__)}}}
        if kind in (OrderChanged, OrderSummary):
            answer["headers"] = _ETAG | (_LOCATION if status == 201 else {})
        said["responses"][str(status)] = answer
    for status in problems:
        answer = {"description": PROBLEMS[status], "content": {MEDIA_TYPE: {"schema": {"$ref": _REF.format(name="ProblemDocument")}}}}
        if status == 503:
            answer["headers"] = _AFTER
        said["responses"][str(status)] = answer
    if body is not None:
        schema = {"$ref": _REF.format(name=body.__name__)}
        said["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return said


def document(app: FastAPI) -> dict[str, Any]:
    """The whole, of an application whose routes are said by `operation`."""
    made: dict[str, Any] = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    _, schemas = msgspec.json.schema_components(_BODIES, ref_template=_REF)
    made["components"] = {"schemas": schemas}
    return made


def _queried(kind: type[Struct]) -> list[dict[str, Any]]:
    (schema,), components = msgspec.json.schema_components([kind])
    fields = components[schema["$ref"].rpartition("/")[2]]
    return [
        {
            "name": name,
            "in": "query",
            "required": name in fields["required"],
            "description": field.get("description", ""),
            "schema": {key: value for key, value in field.items() if key != "description"},
        }
        for name, field in fields["properties"].items()
    ]
