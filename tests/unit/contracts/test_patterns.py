"""Which patterns one bad value could make slow, and that those which pass are quick."""

from __future__ import annotations

import re
import time

import pytest

from infra.contracts.patterns import slow


@pytest.mark.parametrize(
    ("pattern", "length", "bad"),
    [
        ("^[a-z]+$", None, "a" * 1_000_000 + "!"),
        ("^(a|b)*$", None, "a" * 1_000_000 + "!"),
        (r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?Z$", None, "1" * 1_000_000),
        (r"^[a-z][a-z0-9_]{0,63}\Z", None, "a" * 1_000_000),
        ("[a-z]+$", 3000, "a" * 2999 + "!"),
        ("^a*a*$", 3000, "a" * 2999 + "!"),
        ("no repeat", None, "no " * 300_000),
    ],
)
def test_what_is_quick_passes(pattern: str, length: int | None, bad: str) -> None:
    assert slow({"pattern": pattern} | ({} if length is None else {"maxLength": length})) is None
    begun = time.perf_counter()
    re.search(pattern, bad)
    assert time.perf_counter() - begun < 20  # a second or less where nothing else runs


@pytest.mark.parametrize(
    ("pattern", "length", "why"),
    [
        ("^(a+)+$", 64, "a repeat or a choice within a repeat"),
        ("^(a|ab)*$", 10, "a repeat or a choice within a repeat"),
        ("^(?:(x{1,3})y)*$", 10, "a repeat or a choice within a repeat"),
        ("[a-z]+$", None, "2 repeats, a missing ^ counted, of a text without maxLength of at most 3162"),
        ("^a*a*$", 4000, "2 repeats"),
        ("^a*a*a*$", 216, "3 repeats"),
        ("^a+$|^b+$", None, "2 repeats"),
    ],
)
def test_what_may_be_slow_is_told(pattern: str, length: int | None, why: str) -> None:
    assert why in str(slow({"pattern": pattern} | ({} if length is None else {"maxLength": length})))


def test_a_schema_without_a_pattern_or_with_a_broken_one_is_not_this_rules() -> None:
    assert slow({"type": "string"}) is None
    assert slow({"pattern": "(?<a"}) is None
