"""How long a regular expression may look at a text: what one bad value could make of it is bounded before any comes. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from re import _constants as code  # type: ignore[attr-defined]  # the module that parses patterns has no public name
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

STEPS = 10_000_000
"""About a second of Python's `re`."""
_REPEATS = (code.MAX_REPEAT, code.MIN_REPEAT)
_FEW = 16  # a repeat of fewer lengths is none, for how long it takes


def slow(schema: Mapping[str, Any]) -> str | None:
    """Why the pattern of a text may take more than `STEPS` for one value, as a phrase; None: it cannot.

    A repeat within a repeat, or a choice within one, may be tried in as many ways as there are texts of that length; repeats beside each
    other in as many as the length to the power of their number, the place where an unanchored one begins included.
    """
    pattern = schema.get("pattern")
    if not isinstance(pattern, str):
        return None
    try:
        parsed = parser.parse(pattern)
    except re.error:
        return None  # said elsewhere
    if any(_varies(part) for repeat in _repeats(parsed) for part in _inside(repeat)):
        return f"pattern {pattern!r}, with a repeat or a choice within a repeat, which may take for ever"
    repeats = sum(1 for _ in _repeats(parsed)) + (not pattern.startswith(("^", r"\A")))
    length = schema.get("maxLength")
    if repeats > 1 and not (isinstance(length, int) and length**repeats <= STEPS):
        most = int(STEPS ** (1 / repeats))
        return f"pattern {pattern!r} with {repeats} repeats, a missing ^ counted, of a text without maxLength of at most {most}"
    return None


def _repeats(parsed: Any) -> Iterator[Any]:  # noqa: ANN401 - the parser's own
    """The repeats of many lengths."""
    for node in _nodes(parsed):
        if node[0] in _REPEATS and node[1][1] - node[1][0] >= _FEW:
            yield node


def _inside(repeat: Any) -> Iterator[Any]:  # noqa: ANN401 - the parser's own
    yield from _nodes(repeat[1][2])


def _varies(node: Any) -> bool:  # noqa: ANN401 - the parser's own
    return node[0] is code.BRANCH or (node[0] in _REPEATS and node[1][0] != node[1][1])


def _nodes(parsed: Any) -> Iterator[Any]:  # noqa: ANN401 - the parser's own
    """Each part of a pattern, and what stands in it."""
    if isinstance(parsed, parser.SubPattern):
        for node in parsed:
            yield node
            yield from _nodes(node[1])
    elif isinstance(parsed, tuple | list):
        for part in parsed:
            yield from _nodes(part)
