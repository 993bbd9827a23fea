"""What all decoders share: the refusal of bad data, as a value, the depth that is followed, and times."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from infra.contracts.events import Rejected

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_FIRST, _LAST = -62_135_596_800_000, 253_402_300_799_999  # the years 1 to 9999, which a datetime can hold
DEPTH = 200
"""How deep arrays and objects of a value may nest: far below what the decoders follow, whose own limit counts the caller's stack too."""
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # 1 and, as a signed byte, -1
_NO_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))
_BLOCK = 1 << 16  # brackets that are looked at in one go, so that a value that swells to hundreds of megabytes does not do so again here
_PAST_A_LIMIT = re.compile(r"Expected `\w+` [<>]=? ")  # how the decoder calls a number that its field does not allow
_PAST_ANY_NUMBER = "out of range"  # how the decoder calls 1e400 and integers of more than 4,300 digits
MESSAGE_LIMIT = 300  # characters of a decoder's own message that reach the dead letter


class _Header(msgspec.Struct, rename="camel"):
    event_type: Any = None
    version: Any = None


_header = msgspec.json.Decoder(_Header)


@dataclass(frozen=True)
class EventTimeWindow:
    """Which timestamps are believed: from `not_before` (ms since 1970) to `ahead` ms after the record's Kafka time.

    The stated window keeps a forged date from making endless table partitions.
    """

    not_before: int
    ahead: int


def nests_deeper(value: bytes, limit: int) -> bool:
    """Whether JSON opens more than `limit` arrays and objects inside each other; brackets in texts do not count.

    Up to the first fault of the bytes it sees what a decoder sees, so no decoder goes deeper than it allows.
    """
    if value.count(b"[") + value.count(b"{") <= limit:
        return False
    steps = np.frombuffer(_TEXT.sub(b"", value).translate(_STEPS, _NO_BRACKETS), np.int8)
    depth = 0
    for start in range(0, len(steps), _BLOCK):
        depths = np.cumsum(steps[start : start + _BLOCK], dtype=np.int64) + depth
        if depths.max() > limit:
            return True
        depth = int(depths[-1])
    return False


def refusal(value: bytes, message: str, known: Mapping[str, Collection[int]]) -> Rejected:
    """Say why a value did not fit, from the decoder's message and the versions of each event type that is known here.

    Only bad input pays for this second look.
    """
    try:
        header = _header.decode(value)
    except msgspec.ValidationError as error:
        reason = "wrong_type" if " - at `$" in str(error) else "not_an_object"
        return Rejected("decode", reason, str(error)[:MESSAGE_LIMIT])
    except msgspec.DecodeError as error:  # a fault behind what did not fit
        return Rejected("decode", "invalid_json", str(error)[:MESSAGE_LIMIT])
    if (
        isinstance(header.event_type, str)
        and isinstance(header.version, int)
        and (stranger := unknown(header.event_type, header.version, known))
    ):
        return stranger
    if "missing required field" in message:
        reason = "missing_field"
    elif _PAST_ANY_NUMBER in message or (
        message.startswith("Expected")
        and " of length " not in message
        and "matching regex" not in message
        and not _PAST_A_LIMIT.match(message)
    ):
        reason = "wrong_type"
    else:
        return Rejected("validate", "invalid_value", message[:MESSAGE_LIMIT])
    return Rejected("decode", reason, message[:MESSAGE_LIMIT])


def unknown(event_type: str, version: int, known: Mapping[str, Collection[int]]) -> Rejected | None:
    """The refusal of an event type or version that is not among those known; None where it is."""
    if event_type not in known:
        names = ", ".join(f"'{name}'" for name in sorted(known))
        return Rejected(
            "validate", "unknown_event_type", f"no contract of this topic names event type {event_type[:80]!r}; expected {names}"
        )
    if not -(2**63) <= version < 2**63:
        return Rejected("decode", "wrong_type", "version does not fit 64 bits")
    if version not in known[event_type]:
        return Rejected(
            "validate", "unknown_version", f"{event_type} has version {', '.join(map(str, sorted(known[event_type])))}; got {version}"
        )
    return None


def event_milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970 UTC, rounded down, without a float on the way."""
    return (moment - _EPOCH) // _MILLISECOND


def check_event_time(event_ms: int, kafka_ms: int, window: EventTimeWindow) -> Rejected | None:
    """Refuse a timestamp outside the window that the topic's contract states."""
    if window.not_before <= event_ms <= kafka_ms + window.ahead:
        return None
    return Rejected(
        "validate",
        "timestamp_out_of_window",
        f"timestamp {rfc3339(event_ms)} lies outside {rfc3339(window.not_before)} to {rfc3339(kafka_ms + window.ahead)}",
    )


def rfc3339(milliseconds: int) -> str:
    """`2024-01-04T10:21:14.000Z`; times before the year 1 or after 9999 as the nearest that can be written."""
    moment = _EPOCH + timedelta(milliseconds=min(max(milliseconds, _FIRST), _LAST))
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rfc3339_texts(milliseconds: NDArray[np.int64]) -> list[str]:
    """The same for (n,) times at once."""
    moments = np.clip(milliseconds, _FIRST, _LAST).astype("datetime64[ms]")
    return np.char.add(np.datetime_as_string(moments), "Z").tolist() if len(moments) else []
