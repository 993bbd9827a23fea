"""Dead letters as they lie in their topic, pure: what is kept of each while all are looked at, and the record that one holds."""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from infra.contracts.codec import DEPTH, event_milliseconds, nests_deeper
from jobs.dead_letter import answer_id

Place = tuple[int, int] | tuple[int, int, str]
"""Partition and offset of a record in the topic whose letters are meant; of one in another topic, with that topic's name."""
NO_VERSION = "-"

_EVENT_FOLLOWS, _BLANKS = re.compile(rb'"originalEvent":([ \t\n\r]*)'), re.compile(rb"[ \t\n\r]*")
_PLACE = re.compile(r"(?:([a-z][a-z0-9-]*)/)?(\d{1,10}):(\d{1,19})\Z")
_UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4})-8([0-9a-f]{3})-8([0-9a-f]{3})-000([0-9a-f]{9})\Z")
_Int = Annotated[int, Meta(ge=0, le=2**63 - 1)]


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter without its bytes. `place`: the refused record's in the source topic; `at`: the letter's own in its topic.

    `version`: of the refused event's schema as it names it, NO_VERSION where it names none. `failed_ms`: since 1970. `failed_in`: the
    service that refused it, where the letter says so.
    """

    place: Place
    at: Place
    step: str
    reason: str
    version: str
    message: str
    failed_ms: int
    failed_in: str = ""


@dataclass(frozen=True)
class Original:
    """The refused record. `elsewhere`: the letter names only its place, and key and value are not known from it but for `sha256`.

    `headers`: those that its letter kept.
    """

    key: bytes | None
    value: bytes | None
    elsewhere: bool = False
    sha256: str | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


class _Error(msgspec.Struct):
    step: str
    reason: str
    message: str


class _Data(msgspec.Struct, rename="camel"):
    error: _Error
    failed_at: Annotated[datetime, Meta(tz=True)]
    source_topic: str
    source_partition: _Int
    source_offset: _Int
    original_event: msgspec.Raw
    original_bytes: str | None
    original_key: str | None
    original_place: str | None = None
    original_sha256: str | None = None
    original_headers: dict[str, str] = {}
    failed_in: str = ""


class _DeadLetter(msgspec.Struct):
    data: _Data


class _Version(msgspec.Struct):
    version: Any = None


_letter, _version = msgspec.json.Decoder(_DeadLetter), msgspec.json.Decoder(_Version)


def read_letter(
    value: bytes | None, at: tuple[int, int], topic: str, partitions: int, beside: Mapping[str, int] | None = None
) -> Letter | None:
    """A letter of `topic`, or of one `beside` it; None: it is none, or tells of a place that the topic cannot have. Never raises.

    `beside`: other topics whose letters lie there too, with their partitions.
    """
    data = _read(value)
    if data is None or data.source_partition >= {**(beside or {}), topic: partitions}.get(data.source_topic, 0):
        return None
    intern = sys.intern  # a few codes stand in a million letters
    return Letter(
        place=place_in(topic, data.source_topic, data.source_partition, data.source_offset),
        at=at,
        step=intern(data.error.step),
        reason=intern(data.error.reason),
        version=intern(_version_of(bytes(data.original_event))),
        message=intern(data.error.message),
        failed_ms=event_milliseconds(data.failed_at),
        failed_in=intern(data.failed_in),
    )


def original_of(value: bytes | None) -> Original | None:
    """The refused record of a letter, byte for byte; None: it is no letter. Never raises."""
    data = _read(value)
    if data is None:
        return None
    key = None if data.original_key is None else base64.b64decode(data.original_key)
    headers = tuple((name, text.encode("latin-1", "replace")) for name, text in data.original_headers.items())
    if data.original_place is not None:
        return Original(None, None, elsewhere=True, sha256=data.original_sha256, headers=headers)
    if data.original_bytes is not None:
        return Original(key, base64.b64decode(data.original_bytes), headers=headers)
    event = bytes(data.original_event)
    return Original(key, None if event == b"null" else _with_blanks(event, value or b""), headers=headers)


def _with_blanks(event: bytes, letter: bytes) -> bytes:
    """The event with the white space around it: it stands verbatim in its letter, which has none of its own there."""
    for before in _EVENT_FOLLOWS.finditer(letter):
        if letter.startswith(event, before.end()):
            after = _BLANKS.match(letter, before.end() + len(event))
            return before[1] + event + (after[0] if after else b"")
    return event


def read_place(text: str, topic: str, beside: Collection[str] = ()) -> Place | None:
    """`PARTITION:OFFSET`, or the event id of the letter of a record of `topic`, which spells its place; None: neither.

    Records of the topics `beside` it are named as `TOPIC/PARTITION:OFFSET`.
    """
    if named := _PLACE.match(text):
        where = named[1] or topic
        return place_in(topic, where, int(named[2]), int(named[3])) if where == topic or where in beside else None
    if spelt := _UUID.match(text.lower()):
        partition, offset = int(spelt[1], 16), int(spelt[2] + spelt[3] + spelt[4], 16)
        for where in (topic, *beside):
            if answer_id(where, partition, offset) == text.lower():
                return place_in(topic, where, partition, offset)
    return None


def place_in(topic: str, where: str, partition: int, offset: int) -> Place:
    """The place of a record in topic `where`, while the letters of `topic` are meant."""
    return (partition, offset) if where == topic else (partition, offset, where)


def topic_of(place: Place, topic: str) -> str:
    """The topic in which a record lies, while the letters of `topic` are meant."""
    return place[2] if len(place) == 3 else topic


def as_text(place: Place) -> str:
    """`PARTITION:OFFSET`, behind `TOPIC/` where it lies in another one than the topic whose letters are meant."""
    return (f"{place[2]}/" if len(place) == 3 else "") + f"{place[0]}:{place[1]}"


def _read(value: bytes | None) -> _Data | None:
    if value is None or nests_deeper(value, DEPTH):
        return None
    try:
        data = _letter.decode(value).data
        event_milliseconds(data.failed_at)
        for text in (data.original_bytes, data.original_key):
            base64.b64decode(text or "", validate=True)
    except (msgspec.MsgspecError, ValueError, OverflowError):
        return None
    return data


def _version_of(event: bytes) -> str:
    try:
        version = _version.decode(event).version
    except (msgspec.MsgspecError, ValueError):
        return NO_VERSION
    return str(version)[:20] if isinstance(version, int) and not isinstance(version, bool) else NO_VERSION
