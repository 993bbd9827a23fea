"""What the command line says of its own commands."""

from __future__ import annotations

from functools import cache
from typing import Any


def command_help(words: str) -> str:
    """The first sentence about a command, such as `dlq replay`; of the group that holds it where it is not one; empty: there is none."""
    found: Any = _root()
    for word in words.split():
        found = getattr(found, "commands", {}).get(word, found)
    said = (found.help or "").strip().partition("\n")[0] if found is not _root() else ""
    return str(said.partition(" Example:")[0])


@cache
def _root() -> Any:  # noqa: ANN401 - typer brings its own copy of click, without types
    from typer.main import get_command

    from jobs.cli import app

    return get_command(app)
