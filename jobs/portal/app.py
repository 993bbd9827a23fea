"""The portal over HTTP: the page and what it asks. It shows, and changes nothing.

It listens on loopback and knows no users. A page of a stranger in the same browser cannot read it: no answer allows other origins, and a
name of the stranger's that he makes lead to loopback (DNS rebinding) is refused by the Host header.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import yaml
from fastapi import FastAPI, Request, Response

from infra.portal.asyncapi import asyncapi
from infra.portal.catalogue import Catalogue
from infra.portal.graph import DATA, Node, hit_by
from infra.portal.render import catalogue_document, page

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_LEFT_OUT = 80  # the port of http, which browsers do not say in the Host header
_NOTHING = "default-src 'none'; frame-ancestors 'none'"


def application(
    declared: Callable[[], Catalogue], live: Callable[[], dict[str, Any]], port: int, broker: str, security_protocol: str
) -> FastAPI:
    """The application.

    `declared`: the catalogue as it is now; `live`: what was seen last; `port`: where it listens, by which the Host header is checked.
    """
    app = FastAPI(title="Streamhouse events", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    made = [_Made(declared(), broker, security_protocol)]

    def now() -> _Made:
        catalogue = declared()
        if made[0].catalogue is not catalogue:
            made[0] = _Made(catalogue, broker, security_protocol)
        return made[0]

    names = ("127.0.0.1", "localhost", "[::1]")
    hosts = {f"{name}:{port}" for name in names} | ({*names} if port == _LEFT_OUT else set())

    @app.middleware("http")
    async def guarded(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        if request.headers.get("host", "").lower() in hosts:
            answer = await call(request)
        else:
            answer = _told(421, f"expected the Host {' or '.join(sorted(hosts))}; open http://127.0.0.1:{port}/")
        for name, value in _HEADERS.items():
            answer.headers[name] = value
        answer.headers.setdefault("Content-Security-Policy", _NOTHING)
        return answer

    @app.get("/")
    def index() -> Response:
        page = now().page
        return Response(page.html, media_type="text/html; charset=utf-8", headers={"Content-Security-Policy": page.policy})

    @app.get("/catalogue.json")
    def everything_declared() -> Response:
        return Response(now().declared, media_type="application/json")

    @app.get("/live.json")
    def everything_seen() -> Response:
        # an open page sees by the version that another catalogue is declared than its own
        return Response(_json({**live(), "version": now().page.version}), media_type="application/json")

    @app.get("/asyncapi.json")
    def as_json() -> Response:
        return Response(_json(now().asyncapi), media_type="application/json")

    @app.get("/asyncapi.yaml")
    def as_yaml() -> Response:
        return Response(yaml.safe_dump(now().asyncapi, sort_keys=False, allow_unicode=True), media_type="application/yaml")

    @app.get("/impact")
    def impact(node: str = "", only: str = "all") -> Response:
        kind, _, name = node.partition(":")
        start, graph = Node(kind, name), now().catalogue.graph
        if start not in graph.following and start not in graph.leading:
            return _told(404, f"node {node!r}: expected kind:name of something that is declared, as topic:orders; see /catalogue.json")
        if only not in ("all", "data"):
            return _told(400, f"only={only}: expected all or data")
        hits = hit_by(graph, [start], DATA if only == "data" else None)
        told = [{"kind": hit.node.kind, "name": hit.node.name, "steps": hit.steps, "why": hit.why} for hit in hits]
        return Response(_json({"node": node, "hits": told}), media_type="application/json")

    return app


class _Made:
    """What is answered while one catalogue is declared."""

    def __init__(self, catalogue: Catalogue, broker: str, security_protocol: str) -> None:
        self.catalogue = catalogue
        self.page = page(catalogue, None, polls=True)
        self.declared = _json(catalogue_document(catalogue))
        self.asyncapi = asyncapi(catalogue, broker, security_protocol)


def _json(document: object) -> str:
    return json.dumps(document, ensure_ascii=False)


def _told(status: int, sentence: str) -> Response:
    return Response(f"{sentence}\n", status_code=status, media_type="text/plain; charset=utf-8")
