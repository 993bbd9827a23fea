"""One command from a person, and its answer."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

import msgspec
from rich.console import Console
from rich.markup import escape

from infra.clock import system_clock
from infra.config import Settings
from infra.errors import StreamhouseError
from jobs.patterns.aggregate import Aggregate
from jobs.patterns.commands import Commands
from jobs.patterns.message import Message, derived_id
from jobs.patterns.replies import CommandAccepted

ACCEPTED, REFUSED = 0, 1


def send(
    settings: Settings, known: Iterable[Aggregate], kind: str, data: str, name: str | None, expected_version: int | None, seconds: float
) -> int:
    """Send it and print what became of it; answers 1 when it was refused. `name`: a command's id, or any text that becomes one.

    Raises:
        StreamhouseError: no command is called so, its data does not fit, or no answer came in time.

    """
    command = _read(known, kind, data)
    command_id = _id_of(kind, name)
    with Commands(settings, system_clock, "streamhouse/command", seconds=seconds) as commands:
        reply = commands.execute(command, command_id, expected_version=expected_version)
    about = f"{kind} to {escape(command.aggregate_id)}"
    if isinstance(reply, CommandAccepted):
        Console(soft_wrap=True).print(f"{about}: accepted, version {reply.aggregate_version}", highlight=False)
        return ACCEPTED
    text = f"{about}: refused at version {reply.aggregate_version}, {reply.reason}: {escape(reply.message)}"
    Console(soft_wrap=True, stderr=True).print(text, highlight=False)
    return REFUSED


def _id_of(kind: str, name: str | None) -> str:
    """An id that was told stays itself, so that who got no answer can send the same command again."""
    if name is None:
        return str(uuid.uuid4())
    try:
        return str(uuid.UUID(name))
    except ValueError:
        return derived_id(f"command {kind}", name)


def _read(known: Iterable[Aggregate], kind: str, data: str) -> Message:
    kinds = {command.__name__: command for aggregate in known for command in aggregate.commands}
    if kind not in kinds:
        message = f"command {kind!r}: expected one of {', '.join(sorted(kinds))}"
        raise StreamhouseError(message)
    try:
        return msgspec.json.decode(data, type=kinds[kind])
    except msgspec.MsgspecError as error:
        fields = ", ".join(field.encode_name for field in msgspec.structs.fields(kinds[kind]))
        message = f"data of {kind}: {error}; its fields are {fields}"
        raise StreamhouseError(message) from error
