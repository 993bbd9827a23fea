"""How long a regular expression may look at a text: what one bad value could make of it is bounded before any comes. Pure.

Python's `re` tries one way after the other. Where the next character alone says how a text goes on, there is one way, and a failure is
found in as many steps as the text is long. Where it does not, a choice is made, and each is tried: outside of repeats their numbers are
multiplied, within a repeat they may be as many as there are texts of that length.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise
from re import _constants as code  # type: ignore[attr-defined]  # the module that parses patterns has no public name
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

STEPS = 20_000_000
"""A second or two of Python's `re`."""
_LONGEST = 1 << 20
"""Characters of the longest message that a topic takes."""
_LENGTHS = (10_000, 4000, 1000, 250, 100, 50, 20, 10)
_ASCII = (1 << 128) - 1
_OTHER = 1 << 128  # every character beyond ASCII is taken for the same one: it may be, and to be sure is all that counts
_ANY = _ASCII | _OTHER
_REPEATS = (code.MAX_REPEAT, code.MIN_REPEAT, code.POSSESSIVE_REPEAT)
_WHOLE = (code.AT_BEGINNING, code.AT_BEGINNING_STRING)


class _TooManyWaysError(Exception):
    """A repeat may go round in several ways."""


@dataclass(frozen=True)
class _Part:
    """A part of a pattern. Sets of characters are bits, one for each of ASCII and one for all others.

    `first`: with what it may begin; `more`: with what it may go on where it could have ended; `least` and `most`: its length; `ways`: how
    many are tried at most, times the text's length to the power of `degree`.
    """

    first: int = 0
    more: int = 0
    least: int = 0
    most: int = 0
    ways: int = 1
    degree: int = 0


def slow(schema: Mapping[str, Any]) -> str | None:
    """Why the pattern of a text may take more than `STEPS` for one value, as a phrase; None: it cannot.

    Said of some that are quick, too: references to a group, and whatever goes on in two ways for which one character does not decide.
    """
    pattern = schema.get("pattern")
    if not isinstance(pattern, str):
        return None
    try:
        parsed = parser.parse(pattern)
        flags = parsed.state.flags
        whole = _sequence(parsed, flags, repeated=False)
    except (re.error, OverflowError):
        return None  # no pattern: said elsewhere
    except RecursionError:
        return f"pattern {pattern[:80]!r}, which nests too deep"
    except _TooManyWaysError as error:
        return f"pattern {pattern!r}, {error}, so that it may take for ever; begin each round with a character that ends the one before"
    length = schema.get("maxLength")
    longest = min(length, _LONGEST) if isinstance(length, int) else _LONGEST
    anchored = _anchored(parsed, flags)
    if _steps(whole, anchored, longest) <= STEPS:
        return None
    fits = next((most for most in _LENGTHS if most < longest and _steps(whole, anchored, most) <= STEPS), None)
    remedy = "write it with fewer repeats and choices" if fits is None else f"give it a maxLength of at most {fits}"
    why = "" if anchored else ", a missing ^ counted"
    return f"pattern {pattern!r} of a text of up to {longest} characters, which may be looked at in too many ways{why}; {remedy}"


def _steps(whole: _Part, anchored: bool, longest: int) -> int:
    most = min(whole.most, longest) + 1
    return int(most * whole.ways * most**whole.degree * (1 if anchored else longest))


def _sequence(parsed: Sequence[Any], flags: int, *, repeated: bool) -> _Part:
    return reduce(lambda before, node: _followed(before, _part(node, flags, repeated=repeated), repeated=repeated), parsed, _Part())


def _followed(one: _Part, other: _Part, *, repeated: bool) -> _Part:
    """One part, and then another."""
    ways, degree = one.ways * other.ways, one.degree + other.degree
    if one.more & other.first:  # the next character may belong to either: each end of the first is a way
        if repeated:
            message = "where within a repeat a part may end at several places"
            raise _TooManyWaysError(message)
        if one.most - one.least > _LONGEST:
            degree += 1
        else:
            ways *= one.most - one.least + 1
    first = one.first | (other.first if one.least == 0 else 0)
    more = other.more | (one.more if other.least == 0 else 0)
    return _Part(first, more, one.least + other.least, one.most + other.most, ways, degree)


def _part(node: tuple[Any, Any], flags: int, *, repeated: bool) -> _Part:
    kind, told = node
    if kind in _REPEATS:
        least, most, inner = told
        return _repeat(least, most, inner, flags, repeated=repeated)
    if kind is code.BRANCH:
        return _choice([(_sequence(branch, flags, repeated=repeated), branch) for branch in told[1]], flags, repeated=repeated)
    if kind is code.SUBPATTERN:
        _, added, removed, inner = told
        return _sequence(inner, (flags | added) & ~removed, repeated=repeated)
    if kind is code.ATOMIC_GROUP:
        return _sequence(told, flags, repeated=repeated)
    if kind in (code.ASSERT, code.ASSERT_NOT):
        if repeated:
            message = "which looks ahead or back within a repeat"
            raise _TooManyWaysError(message)
        ahead = _sequence(told[1], flags, repeated=False)
        # it is asked at each place where what stands before it may end, so it is taken to begin with any character
        return _Part(first=_ANY, most=ahead.most, ways=ahead.ways + 1, degree=ahead.degree)
    if kind is code.AT:
        return _Part()
    if (characters := _characters(kind, told, flags)) is None:
        message = "which refers to a group"
        raise _TooManyWaysError(message)
    return _Part(characters, 0, 1, 1)


def _repeat(least: int, most: int, inner: Sequence[Any], flags: int, *, repeated: bool) -> _Part:
    several = most > 1
    body = _sequence(inner, flags, repeated=repeated or several)
    if several and (body.least == 0 or body.more & body.first):
        message = "with a repeat in a repeat" if body.most > 1 else "with a repeat of nothing"
        raise _TooManyWaysError(message)
    goes_on = body.more | (body.first if several and least < most else 0)
    longest = body.most * (_LONGEST + 1 if most is code.MAXREPEAT else int(most))
    lasts = replace(body, more=goes_on, least=body.least * int(least), most=longest)
    return replace(lasts, more=goes_on | body.first) if lasts.least == 0 else lasts


def _choice(branches: Sequence[tuple[_Part, Sequence[Any]]], flags: int, *, repeated: bool) -> _Part:
    """One of several parts."""
    parts = [part for part, _ in branches]
    ways, degree = max(part.ways for part in parts), max(part.degree for part in parts)
    if not _apart(parts) and not _prefix_free([branch for _, branch in branches], flags):
        if repeated:
            message = "with a choice in a repeat for which one character does not decide"
            raise _TooManyWaysError(message)
        ways *= len(parts)
    first = reduce(lambda bits, part: bits | part.first, parts, 0)
    least = min(part.least for part in parts)
    more = reduce(lambda bits, part: bits | part.more, parts, first if least == 0 else 0)
    return _Part(first, more, least, max(part.most for part in parts), ways, degree)


def _apart(parts: Sequence[_Part]) -> bool:
    """That no two begin with the same character, and one at most is empty."""
    seen = 0
    for part in parts:
        if part.first & seen:
            return False
        seen |= part.first
    return sum(part.least == 0 for part in parts) <= 1


def _prefix_free(branches: Sequence[Sequence[Any]], flags: int) -> bool:
    """That all are plain words, and none begins as another one is."""
    most = 127 if flags & re.IGNORECASE else sys.maxunicode  # beyond ASCII some letters have more than two cases
    if not all(kind is code.LITERAL and told <= most for branch in branches for kind, told in branch):
        return False
    words = sorted("".join(chr(told) for _, told in branch).lower() for branch in branches)
    return not any(later.startswith(word) for word, later in pairwise(words))


def _characters(kind: Any, told: Any, flags: int) -> int | None:  # noqa: ANN401 - the parser's own
    """Which characters a part of one character may be, and perhaps some more; None: it is no such part."""
    if kind is code.ANY:
        return _ANY
    if kind is code.LITERAL:
        return _range(told, told, flags)
    if kind is code.NOT_LITERAL:
        return _ANY & ~(1 << told) if told < 128 and not flags & re.IGNORECASE else _ANY
    if kind is code.RANGE:
        return _range(told[0], told[1], flags)
    if kind is code.CATEGORY:
        return _CATEGORIES.get(told, _ANY)
    if kind is not code.IN:
        return None
    negated, named = told[0][0] is code.NEGATE, [one for one in told if one[0] is not code.NEGATE]
    if negated:  # to be sure, only what is left out one by one
        left_out = reduce(lambda bits, one: bits | _left_out(one[0], one[1], flags), named, 0)
        return _ANY & ~left_out
    return reduce(lambda bits, one: bits | (_characters(one[0], one[1], flags) or 0), named, 0)


def _left_out(kind: Any, told: Any, flags: int) -> int:  # noqa: ANN401 - the parser's own
    """Which characters of ASCII are left out for sure."""
    found = _CATEGORIES.get(told, 0) if kind is code.CATEGORY else _characters(kind, told, flags & ~re.IGNORECASE)
    return (found or 0) & _ASCII


def _range(first: int, last: int, flags: int) -> int:
    bits = reduce(lambda found, character: found | 1 << character, range(first, min(last, 127) + 1), 0)
    if last > 127:
        bits |= _OTHER
    if flags & re.IGNORECASE and (bits & _OTHER or any(chr(character).isalpha() for character in range(first, min(last, 127) + 1))):
        letters = sum(1 << ord(letter) for letter in _LETTERS)
        bits |= _OTHER | letters if bits & _OTHER else _OTHER | _other_case(bits)
    return bits


def _other_case(bits: int) -> int:
    return sum(1 << ord(letter.swapcase()) for letter in _LETTERS if bits >> ord(letter) & 1)


def _class(pattern: str) -> int:
    return sum(1 << character for character in range(128) if re.match(pattern, chr(character)))


_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CATEGORIES = {
    code.CATEGORY_DIGIT: _class(r"\d") | _OTHER,
    code.CATEGORY_NOT_DIGIT: _class(r"\D") | _OTHER,
    code.CATEGORY_SPACE: _class(r"\s") | _OTHER,
    code.CATEGORY_NOT_SPACE: _class(r"\S") | _OTHER,
    code.CATEGORY_WORD: _class(r"\w") | _OTHER,
    code.CATEGORY_NOT_WORD: _class(r"\W") | _OTHER,
}


def _anchored(parsed: Sequence[Any], flags: int) -> bool:
    """That a match begins where the text does, whichever branch is taken."""
    if flags & re.MULTILINE or not len(parsed):
        return False
    kind, told = parsed[0]
    if kind is code.AT:
        return told in _WHOLE
    if kind is code.BRANCH:
        return all(_anchored(branch, flags) for branch in told[1])
    if kind is code.SUBPATTERN:
        return _anchored(told[3], flags | told[1])
    return kind is code.ATOMIC_GROUP and _anchored(told, flags)
