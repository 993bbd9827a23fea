"""Reads over HTTP: they ask the read model alone."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response

from jobs.shop.http import openapi
from jobs.shop.http.bodies import HealthReport, ListQuery, NoQuery, OrderPage, OrderPrediction, OrderSummary, ReadQuery
from jobs.shop.http.health import Health
from jobs.shop.http.problems import Problem, answer
from jobs.shop.http.reader import Reader
from jobs.shop.http.requests import has_already, order_of, queried


def reads(reader: Reader, health: Health) -> APIRouter:
    """The addresses that show orders, and how the service is."""
    routes = APIRouter()

    @routes.get(
        "/orders",
        response_class=Response,
        openapi_extra=openapi.operation(
            answers={200: (OrderPage, "A user's orders, the latest first.")}, problems=(422, 503), query=ListQuery, of_order=False
        ),
    )
    async def list_orders(request: Request) -> Response:
        """A user's orders as the read model shows them now; it may be behind what was accepted."""
        query = queried(request, ListQuery)
        found = await reader.orders(query)
        following = None
        if len(found) > query.limit:
            del found[query.limit :]
            asked = {"userId": query.user_id, "status": query.status, "limit": query.limit, "before": found[-1].order_id}
            following = "/orders?" + urlencode({name: value for name, value in asked.items() if isinstance(value, str | int)})
        return answer(OrderPage(found, following))

    @routes.get(
        "/orders/{orderId}",
        response_class=Response,
        openapi_extra=openapi.operation(
            answers={200: (OrderSummary, "The order."), 304: (None, "The order still has the version that If-None-Match names.")},
            problems=(404, 422, 503),
            query=ReadQuery,
            headers=[openapi.IF_NONE_MATCH],
        ),
    )
    async def read_order(request: Request) -> Response:
        """An order as the read model shows it; with a version, as soon as it shows that or a later one."""
        order_id = order_of(request)
        found = await reader.order(order_id, queried(request, ReadQuery).version)
        if found is None:
            detail = f"the read model shows no order {order_id!r}; for one that was just placed add ?version= and the version you were told"
            raise Problem(404, "unknown_order", detail, about={"order_id": order_id})
        tag = {"ETag": f'"{found.version}"'}
        return Response(status_code=304, headers=tag) if has_already(request, found.version) else answer(found, headers=tag)

    @routes.get(
        "/orders/{orderId}/prediction",
        response_class=Response,
        openapi_extra=openapi.operation(answers={200: (OrderPrediction, "What is known.")}, problems=(404, 422, 503)),
    )
    async def read_prediction(request: Request) -> Response:
        """What was predicted of the user action that led to an order."""
        queried(request, NoQuery)
        order_id = order_of(request)
        found = await reader.prediction(order_id)
        if found is None:
            detail = f"order {order_id!r} names no user action, or is not known to the read model yet"
            raise Problem(404, "no_prediction", detail, about={"order_id": order_id})
        return answer(found)

    @routes.get(
        "/health",
        response_class=Response,
        openapi_extra=openapi.operation(
            answers={200: (HealthReport, "All answer."), 503: (HealthReport, "One does not.")}, of_order=False, problems=(422,)
        ),
    )
    async def read_health(request: Request) -> Response:
        """Whether broker, order service and read model answer."""
        queried(request, NoQuery)
        found = await health.report()
        return answer(found, 503 if "down" in (found.broker, found.order_service, found.read_model) else 200)

    return routes
