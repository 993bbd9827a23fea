"""To whom the portal answers: by the Host header, as browsers send it for its port."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from jobs.portal.app import application
from tests.portal import ours


def status(port: int, host: str) -> int:
    """What the index answers to a browser that asks this Host."""
    app = application(ours, dict, port, "127.0.0.1:19092", "PLAINTEXT")

    async def asked() -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://portal") as client:
            return (await client.get("/", headers={"Host": host})).status_code

    return asyncio.run(asked())


@pytest.mark.parametrize(
    ("port", "host", "wanted"),
    [
        (8090, "127.0.0.1:8090", 200),
        (8090, "LocalHost:8090", 200),
        (8090, "[::1]:8090", 200),
        (8090, "127.0.0.1", 421),
        (8090, "127.0.0.1:80", 421),
        (8090, "stranger.example:8090", 421),
        (80, "127.0.0.1", 200),  # a browser leaves the scheme's own port out
        (80, "localhost", 200),
        (80, "[::1]", 200),
        (80, "127.0.0.1:80", 200),
        (80, "stranger.example", 421),
        (80, "127.0.0.1:8090", 421),
    ],
)
def test_it_answers_who_asks_for_loopback_at_its_port(port: int, host: str, wanted: int) -> None:
    assert status(port, host) == wanted
