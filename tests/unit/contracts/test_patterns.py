"""Which patterns one bad value could make slow, and that those which pass are quick."""

from __future__ import annotations

import random
import re
import time

import pytest

from infra.contracts.patterns import slow

MIB = 1 << 20
UUID = r"^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$"


def told(pattern: str, length: int | None) -> str | None:
    return slow({"pattern": pattern} | ({} if length is None else {"maxLength": length}))


@pytest.mark.parametrize(
    ("pattern", "length", "bad"),
    [
        ("^[a-z]+$", None, "a" * MIB + "!"),
        ("^(a|b)*$", None, "a" * MIB + "!"),
        ("^(a|ab)*$", None, "a" * MIB + "!"),
        ("^(ab?)*$", None, "ab" * (MIB // 2) + "!"),
        ("(?i)^[a-z]+$", None, "a" * MIB + "!"),
        ("(^[a-z]+$)", None, "a" * MIB + "!"),
        ("^[a-z]*$|^[0-9]*$", None, "1" * MIB + "!"),
        ("^[a-z]+(-[a-z]+)*$", None, "a-" * (MIB // 2) + "-"),
        (r"^[^\s,]+(,[^\s,]+)*$", None, "a," * (MIB // 2) + ","),
        ("^(foo|fob|bar)(,(foo|fob|bar))*$", None, "foo,fob," * (MIB // 8) + "!"),
        ("^(click|close|open)$", None, "clo"),
        (r"^-?\d+(\.\d+)?$", None, "1" * MIB + "."),
        (r"^\S+( \S+)*$", None, "a " * (MIB // 2)),
        (r"^(?!\s*$).+", None, " " * MIB),
        ("^(a{1,15}-){1,15}$", None, "aaaaaaaaaaaaaaa-" * 15 + "!"),
        ("^[A-Z]{2,3}[0-9A-Z]*$", None, "A" * MIB + "!"),
        (r"^https?://[^\s/]+(/[^\s/]*)*$", None, "https://a" + "/" * MIB + " "),
        (UUID, None, "0123abcd-" + "0123-" * 3 + "0123456789ab!"),
        (r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?Z$", None, "1" * MIB),
        (r"^[a-z][a-z0-9_]{0,63}\Z", None, "a" * MIB),
        (r"^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}$", 254, "a@" + "a." * 126),
        ("[a-z]+$", 4000, "a" * 3999 + "!"),
        ("^a*a*$", 4000, "a" * 3999 + "!"),
        (".+", 4000, "\n" * 4000),
        ("no repeat", None, "no " * (MIB // 3)),
    ],
)
def test_what_is_quick_passes(pattern: str, length: int | None, bad: str) -> None:
    assert told(pattern, length) is None
    begun = time.perf_counter()
    re.search(pattern, bad)
    assert time.perf_counter() - begun < 20  # two seconds or less where nothing else runs


@pytest.mark.parametrize(
    ("pattern", "length", "why"),
    [
        ("^(a+)+$", 64, "with a repeat in a repeat"),
        ("^(a*)*$", 64, "with a repeat in a repeat"),
        ("^(a?){20}$", 64, "with a repeat of nothing"),
        ("^(a?b?)*$", 64, "with a repeat in a repeat"),
        ("^([a-z]{1,15}-?){1,15}$", 64, "with a repeat in a repeat"),
        ("^([a-z]+){10}$", 64, "with a repeat in a repeat"),
        ("^([a-z]+[0-9]*){1,15}$", 40, "with a repeat in a repeat"),
        ("^(aa?a)*$", 40, "where within a repeat a part may end at several places"),
        ("^(ab|a.|c)*$", 40, "with a choice in a repeat"),
        ("^(foo|foobar|baz)*$", 40, "with a choice in a repeat"),
        ("(?i)^(sa|\u017fa)*$", 40, "with a choice in a repeat"),
        ("^(\u00e4x|\u00f6y|[^a]x)*$", 40, "with a choice in a repeat"),
        (r"^((?=a)a)*$", 40, "which looks ahead or back within a repeat"),
        (r"^(a*)\1b$", 40, "which refers to a group"),
        ("(" * 3000 + ")" * 3000, None, "which nests too deep"),
        ("[a-z]+$", None, "a missing ^ counted; give it a maxLength of at most 4000"),
        ("[a-z]++!", None, "a missing ^ counted; give it a maxLength of at most 4000"),
        ("(?m)^[a-z]+$", None, "a missing ^ counted"),
        ("^$|[a-z]+!$", None, "a missing ^ counted"),
        ("[a-z]{5000}!", None, "a missing ^ counted"),
        (r"^(?=.*x)(?=.*y.*z)a$", None, "give it a maxLength of at most 20"),
        ("^[a-z]*(?![a-z]*-)[0-9]+$", None, "give it a maxLength of at most 100"),
        ("^a*(?=a*x)b", None, "give it a maxLength of at most 100"),
        (r"^[a-z]*(?=[a-z]*\.)[0-9.]+$", None, "give it a maxLength of at most 100"),
        ("^(?:ab)*(?=(?:ab)*x)c", None, "give it a maxLength of at most 100"),
        ("^a*a*$", 5000, "of a text of up to 5000 characters"),
        ("^a*a*a*$", 300, "give it a maxLength of at most 250"),
        ("^" + "a{0,15}" * 8, None, "write it with fewer repeats and choices"),
    ],
)
def test_what_may_be_slow_is_told(pattern: str, length: int | None, why: str) -> None:
    assert why in str(told(pattern, length))


PARTS = ("(?=a*b)", "(?!b*a)", "a", "b", "c", "[ab]", "[^a]", ".", "ab", "ba", r"\w", "", "(?:a|b)", "$", r"\b")
REPEATS = ("*", "+", "?", "{2}", "{1,3}", "{0,15}", "{2,}", "*?", "++")


def invented(rng: random.Random, depth: int) -> str:
    kind = rng.randrange(4) if depth else 0
    if kind == 0:
        return rng.choice(PARTS)
    if kind == 1:
        return invented(rng, depth - 1) + invented(rng, depth - 1)
    if kind == 2:
        return f"(?:{'|'.join(invented(rng, depth - 1) for _ in range(rng.randint(2, 3)))})"
    return f"(?:{invented(rng, depth - 1)}){rng.choice(REPEATS)}"


def test_no_pattern_that_passes_is_slow_of_two_thousand_that_were_invented() -> None:
    rng, quick, slow_ones = random.Random(7), 0, 0
    while quick < 2000:
        pattern = f"^{invented(rng, 4)}{rng.choice(('$', '!', ''))}"
        if told(pattern, None) is not None:
            slow_ones += 1
            continue
        quick += 1
        for text in ("a" * 9999 + "!", "ab" * 5000 + "!", "abc" * 3333, "aab" * 3333, "b" * 9999):
            begun = time.perf_counter()
            re.search(pattern, text)
            assert time.perf_counter() - begun < 20, pattern  # two hundredths where nothing else runs
    assert slow_ones > 1000


def test_a_schema_without_a_pattern_or_with_a_broken_one_is_not_this_rules() -> None:
    assert slow({"type": "string"}) is None
    assert slow({"pattern": "(?<a"}) is None
    assert slow({"pattern": "a{99999999999999}"}) is None
