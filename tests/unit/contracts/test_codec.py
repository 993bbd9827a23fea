"""Whatever bytes come, decoding answers; and the same bytes are answered in the same way."""

from __future__ import annotations

import pytest

from infra.contracts.codec import EventTimeWindow, check_event_time, decode_user_action, event_milliseconds, rfc3339
from infra.contracts.events import UserAction

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
