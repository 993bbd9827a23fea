"""What a request holds, read strictly and within bounds."""

from __future__ import annotations

import asyncio
import re
from typing import Any, TypeVar, get_args

import msgspec
from fastapi import Request
from starlette.requests import ClientDisconnect

from jobs.patterns.message import Id
from jobs.shop.http.bodies import Status
from jobs.shop.http.problems import Problem

IDEMPOTENCY_KEY_PATTERN = r"^[\x21-\x7e]{1,128}$"
ETAG_PATTERN = r'^"\d{1,18}"$'
_DRAINED = 1 << 20  # of a body that is too large: a client that is still sending would not read the answer
_AT = re.compile(r" - at `\$(.*)`$")
_T = TypeVar("_T")


async def body_of(request: Request, most: int, seconds: float) -> bytes:
    """The whole body.

    Raises:
        Problem: it is too large, too slow, cut off, or no JSON by its content type.

    """
    if (said := _one(request, "content-type") or "").partition(";")[0].strip().lower() != "application/json":
        raise Problem(415, "not_json", f"Content-Type: expected application/json, got {said[:80]!r}")
    length = int(_one(request, "content-length") or 0)  # the server has checked that it is a number
    size, parts = 0, list[bytes]()
    try:
        async with asyncio.timeout(seconds):
            if length <= _DRAINED:
                async for part in request.stream():
                    size += len(part)
                    if size <= most:
                        parts.append(part)
                    elif size > _DRAINED:
                        break
    except TimeoutError:
        detail = f"the body did not come within {seconds:g} s; send it at once"
        raise Problem(408, "too_slow", detail, headers={"Connection": "close"}) from None
    except ClientDisconnect:
        raise Problem(400, "cut_off", "the connection ended before the body did") from None
    if max(length, size) > most:
        came = f"{length} bytes" if length else f"{size} bytes or more"
        raise Problem(413, "too_large", f"the body: expected {most} bytes at most, got {came}", headers={"Connection": "close"})
    return b"".join(parts)


def decoded(body: bytes, kind: type[_T]) -> _T:
    """A body as what it must be.

    Raises:
        Problem: it is no JSON, or something else.

    """
    try:
        body.decode("utf-8")
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise _invalid("the body", error) from None
    except UnicodeDecodeError as error:
        raise Problem(400, "not_utf8", f"the body is no UTF-8: {error.reason} at byte {error.start}") from None
    except msgspec.DecodeError as error:
        raise Problem(400, "invalid_json", f"the body is no JSON: {error}") from None


def order_of(request: Request) -> str:
    """The order that the address names.

    Raises:
        Problem: no order can have such an id.

    """
    order_id = str(request.path_params["orderId"])
    try:
        return msgspec.convert(order_id, Id)
    except msgspec.ValidationError:
        raise Problem(404, "unknown_order", f"order {order_id[:20]!r}...: expected an id of 128 characters at most") from None


def queried(request: Request, kind: type[_T]) -> _T:
    """What stands behind the question mark.

    Raises:
        Problem: it is something else than the address takes.

    """
    pairs = request.query_params.multi_items()
    values: dict[str, Any] = dict(pairs)
    if len(values) < len(pairs):
        raise Problem(422, "invalid_value", "the query names a parameter twice; give each once")
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _invalid("the query", error) from None


def idempotency_key(request: Request) -> str | None:
    """The header Idempotency-Key.

    Raises:
        Problem: it has another form.

    """
    key = _one(request, "idempotency-key")
    if key is not None and not re.fullmatch(IDEMPOTENCY_KEY_PATTERN, key):
        raise Problem(400, "invalid_header", "Idempotency-Key: expected 1 to 128 visible ASCII characters; a UUID is best")
    return key


def expected_version(request: Request) -> int | None:
    """The version that If-Match demands; None: any.

    Raises:
        Problem: it has another form.

    """
    tag = _one(request, "if-match")
    if tag is None or tag == "*":
        return None
    if not re.fullmatch(ETAG_PATTERN, tag):
        raise Problem(400, "invalid_header", f'If-Match: expected one version in quotes as ETag gives it, like "3", got {tag[:40]!r}')
    return int(tag.strip('"'))


def has_already(request: Request, version: int) -> bool:
    """Whether If-None-Match names a version."""
    tags = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    return f'"{version}"' in tags or "*" in tags


def _one(request: Request, name: str) -> str | None:
    found = request.headers.getlist(name)
    if len(found) > 1:
        raise Problem(400, "invalid_header", f"{name}: expected it once, got it {len(found)} times")
    return found[0] if found else None


def _invalid(what: str, error: msgspec.ValidationError) -> Problem:
    text = _AT.sub(lambda place: f" - at `{place[1].lstrip('.')}`" if place[1] else "", str(error))
    if "unknown field" in text:
        reason = "unknown_field"
    elif "missing required field" in text:
        reason = "missing_field"
    else:
        reason = "invalid_value"
    if "enum value" in text:
        text += f", expected one of {', '.join(get_args(Status))}"
    return Problem(422, reason, f"{what}: {text[:1].lower()}{text[1:]}; see /openapi.json")
