"""Requests as they are read: strictly, and within bounds of size and time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st

from jobs.patterns.message import Message
from jobs.shop.http.bodies import OrderRequest
from jobs.shop.http.problems import Problem
from jobs.shop.http.requests import body_of, decoded, expected_version, has_already, idempotency_key
from jobs.shop.http.writes import _command_id
from jobs.shop.messages import Item, PlaceOrder

JSON = ("content-type", "application/json")
MOST = 1000


def request(*headers: tuple[str, str], parts: Sequence[bytes | None] = ()) -> Request:
    """A part None: the rest does not come."""
    left = list(parts)

    async def receive() -> dict[str, Any]:
        if not left:
            return {"type": "http.disconnect"}
        if (part := left.pop(0)) is None:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": part, "more_body": bool(left)}

    raw = [(name.encode(), value.encode()) for name, value in headers]
    return Request({"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": raw}, receive)


def refused(of: Request) -> tuple[int, str]:
    with pytest.raises(Problem) as error:
        asyncio.run(body_of(of, MOST, 0.05))
    return error.value.status, error.value.reason


@given(st.lists(st.binary(max_size=600), min_size=1, max_size=4))
def test_a_body_is_whole_or_too_large(parts: list[bytes]) -> None:
    size = sum(map(len, parts))
    if size > MOST:
        assert refused(request(JSON, parts=parts)) == (413, "too_large")
    else:
        assert asyncio.run(body_of(request(JSON, parts=parts), MOST, 5)) == b"".join(parts)


def test_a_body_that_is_told_to_be_too_large_is_refused_even_if_it_is_not() -> None:
    assert refused(request(JSON, ("content-length", "1001"), parts=[b"{}"])) == (413, "too_large")


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    assert refused(request(JSON, parts=[b"{", None])) == (408, "too_slow")
    assert refused(request(JSON, ("content-length", "20"), parts=[])) == (400, "cut_off")


@pytest.mark.parametrize("said", [(), (("content-type", "text/plain"),)])
def test_a_body_says_that_it_is_json(said: tuple[tuple[str, str], ...]) -> None:
    assert refused(request(*said, parts=[b"{}"])) == (415, "not_json")
    assert asyncio.run(body_of(request(("content-type", "Application/JSON; charset=utf-8"), parts=[b"{}"]), MOST, 5)) == b"{}"


@given(
    st.one_of(st.binary(max_size=200), st.from_type(object).map(repr).map(str.encode), st.recursive(st.none(), st.lists).map(json.dumps))
)
def test_a_body_is_an_order_or_a_problem(body: bytes | str) -> None:
    with pytest.raises(Problem) as error:
        decoded(body if isinstance(body, bytes) else body.encode(), OrderRequest)
    assert error.value.status in (400, 422)


@pytest.mark.parametrize("order_id", [".", "..", ".a", "a/b", "a b", "ä", "a%2F", "a\n", ""])
def test_an_order_id_is_a_plain_address(order_id: str) -> None:
    body = msgspec.json.encode({"userId": "a", "warehouseId": "b", "items": [], "orderId": order_id})
    with pytest.raises(Problem, match="`orderId`"):
        decoded(body, OrderRequest)


def test_versions_in_headers_are_those_that_etag_gives() -> None:
    assert expected_version(request(("if-match", '"3"'))) == 3
    assert expected_version(request(("if-match", "*"))) is None
    assert expected_version(request()) is None
    for wrong in ("3", 'W/"3"', '"3", "4"', '"-1"', '"9999999999999999999"', '"3"\n'):
        with pytest.raises(Problem, match="If-Match"):
            expected_version(request(("if-match", wrong)))
    assert has_already(request(("if-none-match", 'W/"2", "3"')), 3)
    assert not has_already(request(("if-none-match", '"33"')), 3)
    assert not has_already(request(), 3)


def test_a_key_is_visible_and_given_once() -> None:
    assert idempotency_key(request(("idempotency-key", "a" * 128))) == "a" * 128
    for wrong in ([""], ["a" * 129], ["a b"], ["ä"], ["a\n"], ["a", "b"]):
        with pytest.raises(Problem, match=r"(?i)idempotency-key"):
            idempotency_key(request(*(("idempotency-key", value) for value in wrong)))


def test_a_command_is_the_same_for_the_same_request_alone() -> None:
    order = PlaceOrder("o", "u", "w", (Item("s", 1, 2),))
    others: list[tuple[str, Message, int | None]] = [
        ("key", order, None),
        ("other", order, None),
        ("key", order, 1),
        ("key", PlaceOrder("o", "u", "w", (Item("s", 2, 2),)), None),
        ("key", PlaceOrder("o", "u", "w", (Item("s", 1, 2),), ""), None),
    ]
    ids = [_command_id(*one) for one in others]
    assert len(set(ids)) == len(ids)
    assert _command_id("key", PlaceOrder("o", "u", "w", (Item("s", 1, 2),)), None) == ids[0]
