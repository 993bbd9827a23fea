"""A repair: a small Python function of the user's that makes another event of a refused one."""

from __future__ import annotations

import json
import math
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from infra.contracts.codec import DEPTH, nests_deeper
from infra.errors import StreamhouseError
from jobs.dlq.letters import Place, as_text

Event = dict[str, Any] | bytes | None
"""What an edit gets: a JSON object, other bytes, or None for a tombstone. It answers the same, None to leave that one out."""
Edit = Callable[[Event], object]

_IN_FILE = re.compile(r"(?P<file>.+\.py):(?P<name>[A-Za-z_][A-Za-z0-9_]*)\Z")


class EditError(StreamhouseError):
    """The function cannot be found, raised an exception, or answered what is no event."""


def load_edit(text: str) -> Edit:
    """The function that `FILE.py:NAME` or a Python expression names; an expression may use `json` and `re`.

    Raises:
        EditError: there is none.

    """
    try:
        if named := _IN_FILE.match(text):
            found = runpy.run_path(str(Path(named["file"])))[named["name"]]
        else:
            found = eval(text, {"json": json, "re": re})
    except (Exception, SystemExit) as error:  # a function that ends the program would end it in silence
        message = f"--edit {text!r}: {type(error).__name__}: {error}; expected a function as 'lambda event: {{**event, \"version\": 1}}'"
        message += " or as FILE.py:NAME"
        raise EditError(message) from error
    if not callable(found):
        message = f"--edit {text!r}: expected a function, got {type(found).__name__}"
        raise EditError(message)
    function: Edit = found
    return function


def apply_edit(edit: Edit | None, value: bytes | None, place: Place) -> tuple[bytes | None, bool] | None:
    """The edited value, and whether it differs from `value`; None: it is left out. Without an edit it is `value`.

    A JSON object that the function leaves as it was keeps its bytes.

    Raises:
        EditError: the function raised an exception, or answered neither dict, bytes nor None; it names the place.

    """
    if edit is None:
        return value, False
    event = as_event(value)
    before = _encoded(event, place) if isinstance(event, dict) else None
    try:
        answer = edit(event)
    except (Exception, SystemExit) as error:
        message = f"--edit failed for {as_text(place)}: {type(error).__name__}: {error}; mend the function, or leave that one out by None"
        raise EditError(message) from error
    if answer is None:
        return None
    if not isinstance(answer, (dict, bytes)):
        message = f"--edit for {as_text(place)}: expected a dict, bytes or None, got {type(answer).__name__}"
        raise EditError(message)
    edited = answer if isinstance(answer, bytes) else _encoded(answer, place)
    if edited == before and value is not None:
        return value, False
    return edited, edited != value


def as_event(value: bytes | None) -> Event:
    """A value as an edit gets it: strict JSON objects as dict, anything else as it is."""
    if value is None or nests_deeper(value, DEPTH):
        return value
    try:
        event = json.loads(value.decode("utf-8"), parse_constant=_no_constant, parse_float=_finite)
        _dumped(event)  # half a surrogate pair, say, can be read and not written
    except (ValueError, RecursionError):
        return value
    return event if isinstance(event, dict) else value


def _encoded(event: dict[str, Any], place: Place) -> bytes:
    try:
        return _dumped(event)
    except (TypeError, ValueError, RecursionError) as error:
        message = f"--edit for {as_text(place)}: expected what JSON can hold, got {type(error).__name__}: {error}"
        raise EditError(message) from error


def _dumped(event: object) -> bytes:
    return json.dumps(event, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_constant(text)


def _no_constant(name: str) -> NoReturn:
    message = f"{name} is no JSON"
    raise ValueError(message)
