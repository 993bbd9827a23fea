"""Messages that differ from another in one field alone, and still are what their schema says."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft7Validator

from infra.contracts.contract import EventSchema

Path = tuple[str | int, ...]


def perturbed(value: bytes, schema: EventSchema) -> Iterator[tuple[str, bytes]]:
    """Each leaf of a message, by its field's path, and the message with another value there."""
    message = json.loads(value)
    valid = Draft7Validator(dict(schema.document))
    for path in _leaves(message, ()):
        for other in _others(_at(message, path)):
            changed = copy.deepcopy(message)
            _at(changed, path[:-1])[path[-1]] = other
            if changed != message and valid.is_valid(changed):
                yield _named(path), json.dumps(changed).encode()
                break


def _leaves(part: Any, path: Path) -> Iterator[Path]:
    inside = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    for name, field in inside:
        yield from _leaves(field, (*path, name))
    if not isinstance(part, dict | list):
        yield path


def _at(message: Any, path: Path) -> Any:
    for name in path:
        message = message[name]
    return message


def _others(value: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1, value - 1, value / 2 + 0.125, value // 2]
    others = ["5b9ff1a3-0000-4000-8000-000000000001", "2024-02-03T04:05:06.000Z", "0" * 64, "late_action", "validate", "shipping"]
    return [*others, f"{value}x"] if isinstance(value, str) else ["other", 1, 0.5, True, *others]


def _named(path: Path) -> str:
    return "".join("[]" if isinstance(name, int) else f".{name}" for name in path).removeprefix(".")
