"""Whatever bytes come, decoding answers; and the same bytes are answered in the same way."""

from __future__ import annotations

from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.contracts.codec import (
    DEPTH,
    EventTimeWindow,
    check_event_time,
    event_milliseconds,
    nests_deeper,
    refusal,
    rfc3339,
)
from infra.contracts.events import Rejected, UserAction
from infra.contracts.in_effect import decode_user_action

WINDOW = EventTimeWindow(not_before=1_420_070_400_000, ahead=86_400_000)


def action(*, event_type: str = '"UserAction"', timestamp: str = '"2024-03-13T10:22:12Z"', version: str = "1", more: str = "") -> bytes:
    """A valid action; the arguments are JSON."""
    return (
        f'{{"eventType":{event_type},"eventId":"7f9c2b1e-3d4a-4c5b-8e6f-0a1b2c3d4e5f","timestamp":{timestamp},"version":{version},'
        f'"source":"shop/web","correlationId":"sess_1",'
        f'"data":{{"userId":"user_0001","sessionId":"sess_1","action":"product_view"{more}}}}}'
    ).encode()


@pytest.mark.parametrize("timestamp", ["9999-12-31T23:59:59-01:00", "9999-12-31T23:59:59.999999-23:59", "0001-01-01T00:00:00+01:00"])
@pytest.mark.parametrize("kafka_ms", [1_710_325_333_000, -1, 253_402_300_799_999 - 86_400_000])
def test_a_timestamp_that_utc_cannot_write_is_out_of_the_window(timestamp: str, kafka_ms: int) -> None:
    event = decode_user_action(action(timestamp=f'"{timestamp}"'))
    assert isinstance(event, UserAction)
    refused = check_event_time(event_milliseconds(event.timestamp), kafka_ms, WINDOW)
    assert refused is not None
    assert refused.reason == "timestamp_out_of_window"
    assert timestamp[:4] in refused.message


def test_times_are_written_with_four_digits_of_the_year_and_milliseconds() -> None:
    assert rfc3339(1_710_325_333_007) == "2024-03-13T10:22:13.007Z"
    assert rfc3339(-1) == "1969-12-31T23:59:59.999Z"
    assert rfc3339(-(2**63)) == rfc3339(-62_135_596_800_000) == "0001-01-01T00:00:00.000Z"
    assert rfc3339(2**63) == rfc3339(253_402_300_799_999) == "9999-12-31T23:59:59.999Z"


def at_stack_depth(frames: int, value: bytes) -> UserAction | Rejected:
    return decode_user_action(value) if frames == 0 else at_stack_depth(frames - 1, value)


@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a":', "}")])
def test_how_deep_a_value_may_nest_does_not_depend_on_who_decodes(opened: str, closed: str) -> None:
    for depth in (*range(150, 210), *range(210, 1101, 30)):
        value = action(more=',"ignored":' + opened * (depth - 2) + ("1" if closed == "}" else "") + closed * (depth - 2))
        answers = [at_stack_depth(frames, value) for frames in (0, 150, 300, 450, 600)]
        assert answers == answers[:1] * 5
        assert (getattr(answers[0], "reason", None) == "too_deep") == (depth > DEPTH), depth


@pytest.mark.parametrize(
    "text",
    ["[" * 5000, "{" * 5000, '\\"' + "[" * 300, "\\\\\\" + '"' + "{" * 300, "[]" * 300, "]" * 300 + "[" * 300],
    ids=lambda text: text[:6],
)
def test_brackets_in_texts_do_not_nest(text: str) -> None:
    assert isinstance(decode_user_action(action(more=f',"ignored":"{text}"')), UserAction)


def test_brackets_beside_each_other_do_not_nest() -> None:
    assert isinstance(decode_user_action(action(more=',"ignored":[' + ",".join(['{"a":[]}'] * 500) + "]")), UserAction)


@pytest.mark.parametrize(
    "value", [b"[" * 1_000_000, b'"\\\\"' + b"{" * 201, b"{" + b"[" * 200 + b"\xc3\xa9", b'{"a":"' + b"x" * 9 + b'"' + b"[" * 200]
)
def test_what_opens_too_much_is_too_deep_closed_or_not(value: bytes) -> None:
    refused = decode_user_action(value)
    assert isinstance(refused, Rejected)
    assert refused.reason == "too_deep"


def depth_of(value: bytes) -> int:
    """How deep brackets nest outside of texts, counted byte by byte; a text that does not end is one up to the end."""
    deepest = depth = i = 0
    in_text = False
    while i < len(value):
        byte = value[i : i + 1]
        if in_text:
            i += byte == b"\\"
            in_text = byte != b'"'
        else:
            in_text = byte == b'"'
            depth += (byte in (b"[", b"{")) - (byte in (b"]", b"}"))
        deepest = max(deepest, depth)
        i += 1
    return deepest


@given(st.lists(st.sampled_from([b"[", b"{", b"]", b"}", b'"', b"\\", b"a", b"[[[", b"]]]", b"\xff"])).map(b"".join))
def test_depth_is_what_a_count_byte_by_byte_gives(value: bytes) -> None:
    assert [nests_deeper(value, limit) for limit in range(12)] == [depth_of(value) > limit for limit in range(12)]


@pytest.mark.parametrize("pairs", [0, 1, 32_767, 32_768, 32_769, 100_000])
def test_depth_is_counted_on_however_many_brackets_lie_between(pairs: int) -> None:
    value = b"[" * 150 + b"{}" * pairs + b"[" * 50
    assert nests_deeper(value, 199)
    assert not nests_deeper(value, 200)


@pytest.mark.parametrize("value", [b'"' + b"[" * 1000, b'"' + b"[" * 1000 + b"\\", b"]" * 300 + b"[" * 300, b'{"a":"\\"' + b"{" * 300])
def test_broken_texts_are_no_depth(value: bytes) -> None:
    refused = decode_user_action(value)
    assert isinstance(refused, Rejected)
    assert refused.reason == "invalid_json"


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1" * 4301, "-" + "9" * 100_000, "1" * 20, "1.0"], ids=lambda number: number[:6])
@pytest.mark.parametrize("field", ["version", "timestamp", "event_type"])
def test_a_number_that_nothing_holds_is_a_wrong_type(field: str, number: str) -> None:
    fields = {field: number}
    refused = decode_user_action(action(**fields))
    assert isinstance(refused, Rejected)
    assert (refused.step, refused.reason) == ("decode", "wrong_type")
    assert isinstance(decode_user_action(action(more=f',"ignored":{number}')), UserAction)


@pytest.mark.parametrize(("cents", "reason"), [("0", "invalid_value"), ("1000000000001", "invalid_value"), ("0.5", "wrong_type")])
def test_a_number_past_the_limit_of_its_field_is_no_wrong_type(cents: str, reason: str) -> None:
    class Paid(msgspec.Struct):
        cents: Annotated[int, msgspec.Meta(ge=1, le=10**12)]

    value = f'{{"eventType":"Paid","version":1,"cents":{cents}}}'.encode()
    with pytest.raises(msgspec.ValidationError) as error:
        msgspec.json.decode(value, type=Paid)
    assert refusal(value, str(error.value), {"Paid": (1,)}).reason == reason


def test_a_list_is_not_an_object_whatever_it_holds() -> None:
    for value in (b"[]", b"[1e400]", b"1e400", b'"text"', b"null"):
        refused = decode_user_action(value)
        assert isinstance(refused, Rejected)
        assert refused.reason == "not_an_object", value


def test_a_wrong_type_before_a_fault_of_the_json_is_invalid_json() -> None:
    refused = decode_user_action(b'{"eventType":5,"x":')
    assert isinstance(refused, Rejected)
    assert refused.reason == "invalid_json"
