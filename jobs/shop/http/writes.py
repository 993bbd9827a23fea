"""Writes over HTTP: each request becomes one command to the order service, the same one whenever it is sent again."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from fastapi import APIRouter, Request, Response

from infra.config import ShopHttp
from jobs.patterns.message import Message, derived_id
from jobs.patterns.replies import CommandAccepted
from jobs.shop.http import openapi, problems
from jobs.shop.http.bodies import CancelRequest, NoQuery, OrderChanged, OrderRequest
from jobs.shop.http.problems import Problem, answer
from jobs.shop.http.requests import body_of, decoded, expected_version, idempotency_key, order_of, queried
from jobs.shop.http.sender import Sender
from jobs.shop.messages import CancelOrder, PlaceOrder

_PROBLEMS = (400, 408, 409, 413, 415, 422, 503)


def writes(sender: Sender, limits: ShopHttp, fresh: Callable[[], str]) -> APIRouter:
    """The addresses that change orders. `fresh`: another id each time, for requests that bring none."""
    routes = APIRouter()

    async def body(request: Request) -> bytes:
        return await body_of(request, limits.body_bytes, limits.body_seconds)

    @routes.post(
        "/orders",
        status_code=201,
        response_class=Response,
        openapi_extra=openapi.operation(
            answers={201: (OrderChanged, "The order was accepted, now or when the same request came before.")},
            problems=_PROBLEMS,
            body=OrderRequest,
            of_order=False,
            headers=[openapi.KEY],
        ),
    )
    async def place_order(request: Request) -> Response:
        """Place an order. With an Idempotency-Key or an orderId, the same request is accepted once, however often it comes."""
        queried(request, NoQuery)
        asked = decoded(await body(request), OrderRequest)
        key = idempotency_key(request)
        if key is not None and asked.order_id is not None:
            detail = "Idempotency-Key and orderId: expected one of them; an orderId alone makes it safe to send the same order again"
            raise Problem(422, "two_keys", detail)
        again = None if asked.order_id is not None else key or fresh()
        scope = _scope(again) if again is not None else f"order/{asked.order_id}"
        order_id = asked.order_id or derived_id(scope, "order")
        command = PlaceOrder(order_id, asked.user_id, asked.warehouse_id, asked.items, asked.action_id)
        reply = await sender.ask(command, _command_id(scope, command), key=again)
        if isinstance(reply, CommandAccepted):
            return _changed(reply, 201, {"Location": f"/orders/{order_id}"})
        if key is not None and reply.reason == "already_placed":
            detail = f"Idempotency-Key {key}: it came with another order before; take a new key for a new order"
            raise Problem(422, "key_reused", detail, about={"order_id": order_id})
        raise problems.refusal(reply)

    @routes.post(
        "/orders/{orderId}/cancel",
        status_code=202,
        response_class=Response,
        openapi_extra=openapi.operation(
            answers={202: (OrderChanged, "The order is being wound down; when it is, its status is cancelled.")},
            problems=(*_PROBLEMS, 404, 412),
            body=CancelRequest,
            headers=[openapi.KEY, openapi.IF_MATCH],
        ),
    )
    async def cancel_order(request: Request) -> Response:
        """Take an order back that is on its way. With If-Match, only as long as it has the version that was seen."""
        queried(request, NoQuery)
        order_id, expected, key = order_of(request), expected_version(request), idempotency_key(request) or fresh()
        reason = decoded(await body(request), CancelRequest).reason
        command = CancelOrder(order_id, reason)
        # a repetition for another version is another command, lest the answer to the first be taken for its own
        command_id = _command_id(_scope(key), command, expected)
        reply = await sender.ask(command, command_id, key=key, expected_version=expected)
        if isinstance(reply, CommandAccepted):
            return _changed(reply, 202)
        raise problems.refusal(reply)

    return routes


def _scope(key: str) -> str:
    return f"idempotency-key/{key}"


def _command_id(scope: str, command: Message, expected: int | None = None) -> str:
    """The same for the same request under the same key; what it asks for is a part of it, so that another one is another command."""
    return derived_id(scope, f"{type(command).__name__} {expected} {msgspec.json.encode(command).decode()}")


def _changed(reply: CommandAccepted, status: int, headers: dict[str, str] | None = None) -> Response:
    changed = OrderChanged(reply.aggregate_id, reply.aggregate_version)
    return answer(changed, status, {"ETag": f'"{reply.aggregate_version}"', **(headers or {})})
