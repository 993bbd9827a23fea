from __future__ import annotations

from datetime import date

import pytest

from infra.contracts.strict import strict_json, strict_yaml


def test_what_is_said_once_is_read() -> None:
    assert strict_json('{"a": [{"b": 1}, {"b": 2}], "ä": null}') == {"a": [{"b": 1}, {"b": 2}], "ä": None}
    assert strict_yaml("a: &one {b: 1}\nc: *one\nd: {<<: *one, e: 2}\n") == {"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1, "e": 2}}
    assert strict_yaml("1: a\n'1': b\n2024-01-01: c\n") == {1: "a", "1": "b", date(2024, 1, 1): "c"}
    nested = "one: &one {b: 1}\na: {x: &X {<<: *one, b: 2}}\ny: {<<: *X}\n"
    assert strict_yaml(nested) == {"one": {"b": 1}, "a": {"x": {"b": 2}}, "y": {"b": 2}}


@pytest.mark.parametrize("text", ["yes: 1\ntrue: 2\n", "1: a\n0x1: b\n"])
def test_one_key_in_two_words_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="twice in one mapping"):
        strict_yaml(text)


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', '{"b": [{"a": 1, "a": 2}]}'])
def test_a_key_that_is_said_twice_is_refused(text: str) -> None:
    for read in (strict_json, strict_yaml):
        with pytest.raises(ValueError, match="the key 'a' twice in one mapping"):
            read(text)


@pytest.mark.parametrize("text", ['{"a": "\\ud800"}', '{"\\udfff": 1}'])
def test_half_a_character_is_refused(text: str) -> None:
    for read in (strict_json, strict_yaml):
        with pytest.raises(UnicodeEncodeError):
            read(text)
