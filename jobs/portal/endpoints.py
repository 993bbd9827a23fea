"""The addresses of the shop's HTTP service, as its routes declare them."""

from __future__ import annotations

from typing import Any, cast

from jobs.shop.http.reads import reads
from jobs.shop.http.writes import writes

SERVICE = "shop-http"


def names() -> list[str]:
    """Each as `GET /orders/{orderId}`. Routes are made without what they would ask when they are called."""
    nothing = cast("Any", None)
    routes: list[Any] = [*reads(nothing, nothing).routes, *writes(nothing, nothing, nothing).routes]
    return sorted(f"{method} {route.path}" for route in routes for method in route.methods)
