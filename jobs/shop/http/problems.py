"""Answers in JSON, and what is wrong with a request as the answer that says so (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import Response

from jobs.patterns.replies import CommandRefused
from jobs.shop.http.bodies import ProblemDocument

MEDIA_TYPE = "application/problem+json"
_STATUS_OF_REFUSAL = {"already_placed": 409, "too_late": 409, "unknown_order": 404, "conflict": 412}
_UNPROCESSABLE = 422  # what the aggregate says of an order's contents: no_items, repeated_item ...


class Problem(Exception):
    """Ends a request. `reason` is for programs, `detail` a sentence; `after`: seconds until it may go well.

    `about`: what else the document says.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        detail: str,
        *,
        after: int | None = None,
        headers: Mapping[str, str] | None = None,
        about: Mapping[str, str | int | None] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.reason = status, reason
        self.headers = dict(headers or {}) | ({"Retry-After": str(after)} if after is not None else {})
        known: dict[str, Any] = {name: value for name, value in (about or {}).items() if value is not None}
        self.document = ProblemDocument(
            type=f"urn:streamhouse:problem:{reason}",
            title=reason.replace("_", " ").capitalize(),
            status=status,
            detail=detail,
            reason=reason,
            **known,
        )

    def response(self) -> Response:
        """The answer."""
        return Response(msgspec.json.encode(self.document), self.status, self.headers, MEDIA_TYPE)


def refusal(refused: CommandRefused) -> Problem:
    """An aggregate's refusal."""
    status = _STATUS_OF_REFUSAL.get(refused.reason, _UNPROCESSABLE)
    return Problem(status, refused.reason, refused.message, about={"order_id": refused.aggregate_id, "version": refused.aggregate_version})


def of_status(status: int, headers: Mapping[str, str] | None) -> Problem:
    """What the framework itself refuses: addresses that do not exist, methods that an address does not take."""
    if status == HTTPStatus.NOT_FOUND:
        return Problem(status, "no_such_address", "nothing has this address; see /openapi.json", headers=headers)
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return Problem(status, "no_such_method", "this address does not take this method; see the header Allow", headers=headers)
    return Problem(status, "refused", HTTPStatus(status).phrase, headers=headers)


def answer(said: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer that went well."""
    return Response(msgspec.json.encode(said), status, headers, "application/json")
