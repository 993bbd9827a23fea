"""What became of a command, told to its sender: topic command-replies."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from jobs.patterns.message import Id, Message

Version = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class _Reply(Message, frozen=True):
    topic: ClassVar[str] = "command-replies"
    key: ClassVar[str] = "command_id"
    command_id: Annotated[str, Meta(max_length=64)]
    command_type: Annotated[str, Meta(max_length=128)]
    aggregate_id: Id


class CommandAccepted(_Reply, frozen=True):
    """A command was accepted. `aggregate_version`: the aggregate's version behind its events, of which there may be none."""

    aggregate_version: Version


class CommandRefused(_Reply, frozen=True):
    """A command was refused and changed nothing. `aggregate_version`: the version for which it was decided."""

    aggregate_version: Version
    reason: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]*\Z", max_length=64)]
    message: Annotated[str, Meta(max_length=1000)]
