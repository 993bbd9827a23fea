"""Commands and events as typed values, and the envelope in which they travel. Pure.

A command is a request that can be refused; an event is a fact. Both are the `data` of the one envelope that every topic here carries,
and each type knows its topic, its version and which of its fields is the record's key: the id of the aggregate that it concerns.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta, Struct

from infra.contracts.codec import DEPTH, event_milliseconds, nests_deeper, refusal, rfc3339
from infra.contracts.contract import Contracts
from infra.contracts.events import Rejected
from infra.contracts.load import load_contracts
from infra.contracts.upcast import other_versions

CAUSATION, VERSION, EXPECTED, REPLY = "causation-id", "aggregate-version", "expected-version", "reply-wanted"
"""Headers: the id of what caused a message; the how-manieth event of its aggregate it is, from 1; the version that a command demands."""
REPLAYED = "replayed-event"
"""Header of an event on a command topic: it became a dead letter of a participant that could not react to it, and is sent to it again."""

Id = Annotated[str, Meta(min_length=1, max_length=128)]
"""An aggregate's id: the record's key."""

Headers = list[tuple[str, bytes]]
Decode = Callable[[bytes | msgspec.Raw], Any]
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_LARGEST = 2**63 - 1


class Message(Struct, frozen=True, rename="camel", forbid_unknown_fields=False):
    """The data of a command or an event. Its class's name is the event type."""

    topic: ClassVar[str]
    key: ClassVar[str]
    version: ClassVar[int] = 1

    @property
    def aggregate_id(self) -> str:
        """The id of the aggregate that it concerns."""
        return str(getattr(self, self.key))


@dataclass(frozen=True)
class Envelope:
    """One message as it is sent. `at`: milliseconds since 1970 UTC. `correlation_id` ties together all that one cause set off.

    `aggregate_version` stands on events alone, `expected_version` and `wants_reply` on commands alone.
    """

    id: str
    at: int
    source: str
    correlation_id: str
    data: Message
    causation_id: str | None = None
    aggregate_version: int | None = None
    expected_version: int | None = None
    wants_reply: bool = False

    @property
    def type(self) -> str:
        """The event type."""
        return type(self.data).__name__


class _Head(Struct, rename="camel"):
    event_type: Annotated[str, Meta(max_length=128)]
    event_id: Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")]
    timestamp: Annotated[datetime, Meta(tz=True)]
    version: int
    source: Annotated[str, Meta(max_length=256)]
    correlation_id: Annotated[str, Meta(max_length=256)]
    data: msgspec.Raw


class _Wire(Struct, rename="camel"):
    event_type: str
    event_id: str
    timestamp: str
    version: int
    source: str
    correlation_id: str
    data: Message


_head = msgspec.json.Decoder(_Head)
_encoder = msgspec.json.Encoder()


class Codec:
    """Bytes to envelopes, for the message types that a reader knows."""

    def __init__(self, types: Iterable[type[Message]], contracts: Contracts | None = None) -> None:
        """`contracts`: name the other versions of the types, which are read as if they were of the one that the code has."""
        self.types: dict[tuple[str, int], type[Message]] = {(kind.__name__, kind.version): kind for kind in types}
        self._decode: dict[tuple[str, int], Decode] = {}
        for (name, version), kind in self.types.items():
            self._decode[name, version] = msgspec.json.Decoder(kind).decode
            for other, decode in other_versions(kind, kind.topic, version, contracts or load_contracts()):
                self._decode.setdefault((name, other), decode)
        self._versions: dict[str, set[int]] = {}
        for name, version in self._decode:
            self._versions.setdefault(name, set()).add(version)

    def decode(self, value: bytes | None, headers: Iterable[tuple[str, Any]] | None = None) -> Envelope | Rejected:
        """One record; never raises on bad data. Unknown fields are ignored, a header that cannot be read counts as missing.

        Refused: as `infra.contracts.codec.decode_user_action` does, and an expected version that is no whole number.
        """
        if value is None:
            return Rejected("decode", "tombstone", "the value is null; a deletion has no meaning in a log of messages")
        try:
            if not value.isascii():
                value.decode("utf-8")
            if nests_deeper(value, DEPTH):
                return Rejected("decode", "too_deep", f"the value nests deeper than {DEPTH} arrays and objects")
            head = _head.decode(value)
            decode = self._decode.get((head.event_type, head.version))
            if decode is None:
                return refusal(value, "", self._versions)
            data = decode(head.data)
            at = event_milliseconds(head.timestamp)
        except UnicodeDecodeError as error:
            return Rejected("decode", "not_utf8", f"the value is no UTF-8: {error.reason} at byte {error.start}")
        except msgspec.ValidationError as error:
            return refusal(value, str(error), self._versions)
        except msgspec.DecodeError as error:
            return Rejected("decode", "invalid_json", str(error)[:300])
        read: dict[str, Any] = dict(headers or ())
        expected = read.get(EXPECTED)
        if expected is not None and _number(expected) is None:
            return Rejected("validate", "invalid_value", f"header {EXPECTED}: expected a whole number from 0, got {expected[:40]!r}")
        causation = read.get(CAUSATION)
        return Envelope(
            head.event_id.lower(),
            at,
            head.source,
            head.correlation_id,
            data,
            causation.decode("ascii", "replace") if causation else None,
            _number(read.get(VERSION)),
            _number(expected),
            read.get(REPLY) is not None,
        )


def encode(envelope: Envelope) -> tuple[bytes, bytes, Headers]:
    """Key, value and headers of the record."""
    data = envelope.data
    wire = _Wire(envelope.type, envelope.id, rfc3339(envelope.at), data.version, envelope.source, envelope.correlation_id, data)
    headers: Headers = []
    if envelope.causation_id is not None:
        headers.append((CAUSATION, envelope.causation_id.encode()))
    if envelope.aggregate_version is not None:
        headers.append((VERSION, b"%d" % envelope.aggregate_version))
    if envelope.expected_version is not None:
        headers.append((EXPECTED, b"%d" % envelope.expected_version))
    if envelope.wants_reply:
        headers.append((REPLY, b"1"))
    return str(getattr(data, data.key)).encode(), _encoder.encode(wire), headers  # a reply's key is no aggregate's


def derived_id(cause: str, name: str) -> str:
    """The id of what follows from a message: the same whenever it is derived again, so that a repetition is known as one."""
    return str(uuid.uuid5(uuid.UUID(cause) if _UUID.match(cause) else uuid.uuid5(uuid.NAMESPACE_URL, cause), name))


def _number(header: bytes | None) -> int | None:
    if not header or not header.isdigit() or len(header) > 19:
        return None
    return min(int(header), _LARGEST)
