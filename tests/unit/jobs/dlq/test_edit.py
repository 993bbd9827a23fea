"""A repair gets what was refused and answers what is sent; whatever it does wrong is said with the place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.dlq.edit import EditError, apply_edit, as_event, load_edit

PLACE = (1, 7)


def edited(function: str, value: bytes | None) -> tuple[bytes | None, bool] | None:
    return apply_edit(load_edit(function), value, PLACE)


def test_an_expression_gets_the_event_as_a_dict() -> None:
    assert edited('lambda event: {**event, "version": 1}', b'{"version":2,"data":{}}') == (b'{"version":1,"data":{}}', True)


def test_a_function_in_a_file_is_found_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "repair.py"
    file.write_text("def mend(event):\n    event['version'] = 1\n    return event\n", "utf-8")
    assert edited(f"{file}:mend", b'{"version": 2}') == (b'{"version":1}', True)
    with pytest.raises(EditError, match="KeyError: 'mended'"):
        load_edit(f"{file}:mended")


@pytest.mark.parametrize("value", [b'{"a": 1.50, "b":[ ]}', b"{}", b'{"a":"\xc3\xa4","n":123456789012345678901234567890}'])
def test_an_object_that_is_left_as_it_was_keeps_its_bytes(value: bytes) -> None:
    assert edited("lambda event: event", value) == (value, False)
    assert edited("lambda event: dict(event)", value) == (value, False)


def test_a_function_that_ends_the_program_is_named() -> None:
    with pytest.raises(EditError, match=r"--edit failed for 1:7: SystemExit: 0"):
        edited("lambda event: exit(0)", b"{}")
    with pytest.raises(EditError, match=r"--edit 'exit\(\)': SystemExit"):
        load_edit("exit()")


def test_true_is_not_one() -> None:
    assert edited('lambda event: {"version": 1}', b'{"version":true}') == (b'{"version":1}', True)
    assert edited('lambda event: {"version": 1}', b'{"version":1.0}') == (b'{"version":1}', True)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"{",
        b"[1]",
        b'"text"',
        b"\xff",
        b'{"a":NaN}',
        b'{"a":1e400}',
        b'{"a":"\\ud800"}',
        b'{"a":' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
    ],
)
def test_what_is_no_json_object_comes_as_it_is(value: bytes | None) -> None:
    seen: list[Any] = []
    assert apply_edit(lambda event: seen.append(event), value, PLACE) is None
    assert seen == [value]
    assert as_event(value) == value


def test_bytes_may_come_back() -> None:
    assert edited("lambda event: event + b'}'", b'{"version":1') == (b'{"version":1}', True)
    assert edited("lambda event: event", b"\xff") == (b"\xff", False)
    assert edited("lambda event: b'{}'", None) == (b"{}", True)


def test_none_leaves_it_out() -> None:
    assert edited("lambda event: None", b"{}") is None


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("lambda event: event['user']", "--edit failed for 1:7: KeyError: 'user'; mend the function"),
        ("lambda event: 1 / 0", "--edit failed for 1:7: ZeroDivisionError"),
        ("lambda event: str(event)", "--edit for 1:7: expected a dict, bytes or None, got str"),
        ("lambda event: {'at': object()}", "--edit for 1:7: expected what JSON can hold, got TypeError"),
        ("lambda event: {'at': float('nan')}", "--edit for 1:7: expected what JSON can hold, got ValueError"),
        ("lambda event: {'at': chr(0xd800)}", "--edit for 1:7: expected what JSON can hold, got UnicodeEncodeError"),
    ],
)
def test_what_goes_wrong_names_the_place(function: str, says: str) -> None:
    with pytest.raises(EditError) as raised:
        edited(function, b"{}")
    assert str(raised.value).startswith(says)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lambda event:", "SyntaxError"),
        ("nowhere.py:mend", "FileNotFoundError"),
        ("mend", "NameError"),
        ("{'version': 1}", "expected a function, got dict"),
    ],
)
def test_what_is_no_function_is_refused(text: str, says: str) -> None:
    with pytest.raises(EditError, match=says):
        load_edit(text)


def test_an_expression_may_use_json_and_re() -> None:
    assert edited("lambda event: json.loads(re.sub(rb'NaN', b'null', event))", b'{"a":NaN}') == (
        json.dumps({"a": None}, separators=(",", ":")).encode(),
        True,
    )
