"""The events of the scoring path as typed structs, and what becomes of a record that is none of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

Identifier = Annotated[str, Meta(min_length=1, max_length=128)]
ActionName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,63}\Z")]


SHAPE = 1
"""The version of UserAction whose names the fields below have. Events of all others are read as if they were of it."""


class UserActionData(Struct, rename="camel", frozen=True, gc=False):
    """What a user did. `platform` and `lifecycle` travel with the action because they change from visit to visit."""

    user_id: Identifier
    session_id: Identifier
    action: ActionName
    platform: Annotated[str, Meta(max_length=64)] | None = None
    lifecycle: Annotated[str, Meta(max_length=64)] | None = None


class UserAction(Struct, rename="camel", frozen=True, gc=False):
    """An event of topic user-actions. `timestamp`: when the user acted; `version`: the one that it was sent in."""

    event_type: Annotated[str, Meta(max_length=128)]
    event_id: UUID
    timestamp: Annotated[datetime, Meta(tz=True)]
    version: int
    source: Annotated[str, Meta(max_length=256)]
    correlation_id: Annotated[str, Meta(max_length=256)]
    data: UserActionData


class Rejected(Struct, frozen=True):
    """Why a record cannot be answered by a prediction: the step that refused it, a reason code and a sentence."""

    step: str
    reason: str
    message: str
