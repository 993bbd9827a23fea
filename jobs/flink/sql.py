"""Flink SQL text: the one place where a value meets SQL."""

from __future__ import annotations

import re
from collections.abc import Mapping

from infra.errors import StreamhouseError

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def identifier(name: str) -> str:
    """A quoted identifier; anything but letters, digits and underscores is refused."""
    if not _IDENTIFIER.match(name):
        message = f"{name!r} cannot be an SQL identifier: expected letters, digits and underscores"
        raise StreamhouseError(message)
    return f"`{name}`"


def literal(value: str) -> str:
    """A quoted string; backslashes mean nothing in Flink's strings."""
    if "\0" in value:
        message = f"{value!r} cannot stand in SQL: it holds a null character"
        raise StreamhouseError(message)
    return "'" + value.replace("'", "''") + "'"


def options(values: Mapping[str, str]) -> str:
    """The list behind WITH."""
    return ",\n  ".join(f"{literal(key)} = {literal(value)}" for key, value in values.items())
