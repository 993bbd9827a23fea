"""Orders over HTTP: writes become commands to the order service, reads ask the read model alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from infra.config import ShopHttp
from jobs.shop.http import openapi, problems
from jobs.shop.http.health import Health
from jobs.shop.http.problems import Problem
from jobs.shop.http.reader import Reader
from jobs.shop.http.reads import reads
from jobs.shop.http.sender import Sender
from jobs.shop.http.writes import writes


def application(
    sender: Sender,
    reader: Reader,
    health: Health,
    limits: ShopHttp,
    fresh: Callable[[], str],
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
) -> FastAPI:
    """The application. `fresh`: another id each time, for requests that bring none."""
    app = FastAPI(
        title="Streamhouse orders",
        version="1.0.0",
        description="Place orders, cancel them, and read how they stand.",
        docs_url=None,  # the pages load their scripts from another host
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )

    app.include_router(writes(sender, limits, fresh))
    app.include_router(reads(reader, health))

    @app.exception_handler(Problem)
    async def told(_: Request, problem: Exception) -> Response:
        assert isinstance(problem, Problem)
        return problem.response()

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return problems.of_status(error.status_code, error.headers).response()

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> Response:  # the server logs it
        return Problem(500, "failed", f"a fault of this service ({type(error).__name__}); see its log").response()

    said = openapi.document(app)
    app.openapi = lambda: said  # type: ignore[method-assign]
    return app
