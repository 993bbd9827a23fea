"""Bytes of topic user-actions -> actions, as its contract says: every version that it names, each as the shape that this code reads.

Here and nowhere else an old event becomes a new one, at no cost: a version's own names are decoded straight into the attributes of the
newest, renamed ones found by their line through the versions, missing ones filled as the contract says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Union

import msgspec

from infra.contracts.accepts import narrower, types
from infra.contracts.codec import DEPTH, MESSAGE_LIMIT, nests_deeper, refusal, unknown
from infra.contracts.contract import EventSchema, Topic
from infra.contracts.events import SHAPE, Rejected, UserAction, UserActionData
from infra.contracts.lineage import data_fields, line, required_fields
from infra.contracts.structs import field_type, snake, undecodable
from infra.errors import StreamhouseError

EVENT = "UserAction"
TOPIC = "user-actions"
Schemas = Mapping[tuple[str, int], EventSchema]
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
# what `UserAction` asks of them, whatever a contract says
_ENVELOPE: Mapping[str, Mapping[str, Any]] = {
    "eventId": {"type": "string", "format": "uuid"},
    "source": {"type": "string", "maxLength": 256},
    "correlationId": {"type": "string", "maxLength": 256},
}


class ActionDecoder:
    """One contract of user-actions as a decoder. `columns`: the attribute of an action's data for each field, by its newest name."""

    def __init__(self, topic: Topic, schemas: Schemas) -> None:
        """Build it.

        Raises:
            StreamhouseError: a version lacks what this code reads of an action, or its schema says what cannot be decoded.

        """
        versions = topic.versions(EVENT)
        if broken := [f"{topic.file}: {sentence}" for version in versions for sentence in misfits(topic, schemas[EVENT, version])]:
            raise StreamhouseError("\n".join(broken))
        self.known = {EVENT: versions}
        self._only = versions[0] if len(versions) == 1 else None
        kinds = [_event(topic, schemas[EVENT, version], tagged=self._only is None) for version in versions]
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Union[tuple(kinds)])  # noqa: UP007 - a union made at run time

    def decode(self, value: bytes | None) -> UserAction | Rejected:
        """Decode one value; unknown fields are ignored.

        Refused: tombstones, bytes that are no UTF-8 or no strict JSON (NaN, Infinity, lone surrogates), nesting past
        `DEPTH`, missing fields, wrong types, event types and versions that the contract does not name.
        """
        if value is None:
            return Rejected("decode", "tombstone", "the value is null; user-actions is a log, a deletion has no meaning in it")
        try:
            if not value.isascii():
                value.decode("utf-8")
            if nests_deeper(value, DEPTH):
                return Rejected("decode", "too_deep", f"the value nests deeper than {DEPTH} arrays and objects")
            event: UserAction = self._decoder.decode(value)
        except UnicodeDecodeError as error:
            return Rejected("decode", "not_utf8", f"the value is no UTF-8: {error.reason} at byte {error.start}")
        except msgspec.ValidationError as error:
            return refusal(value, str(error), self.known)
        except msgspec.DecodeError as error:
            return Rejected("decode", "invalid_json", str(error)[:MESSAGE_LIMIT])
        if event.event_type != EVENT or (self._only is not None and event.version != self._only):
            return unknown(event.event_type, event.version, self.known) or Rejected("decode", "wrong_type", "version is no whole number")
        return event

    def decode_all(self, values: Sequence[bytes | None]) -> list[UserAction | Rejected]:
        """Decode each value; what is as nearly all values are costs one call of the decoder, the rest a second look."""
        decode, only, found = self._decoder.decode, self._only, list[UserAction | Rejected]()
        for value in values:
            if value is not None and value.isascii() and value.count(b"[") + value.count(b"{") <= DEPTH:
                try:
                    event = decode(value)
                except msgspec.MsgspecError:
                    pass
                else:
                    if event.event_type == EVENT and (only is None or event.version == only):
                        found.append(event)
                        continue
            found.append(self.decode(value))
        return found


def misfits(topic: Topic, schema: EventSchema) -> Iterator[str]:
    """Why this code cannot read a version, one sentence each."""
    where = f"{EVENT} {schema.version}"
    for what in undecodable(schema.document):
        yield f"{where}: expected only what the decoder can ask of a value, got {what}; say it with types, limits, enum or pattern"
    for name, asked in _ENVELOPE.items():
        said = schema.document.get("properties", {}).get(name, {})
        if wider := list(narrower(said, asked)):
            yield f"{where}: {name}: expected no more than this code takes, got {wider[0].partition(': ')[2]}; leave it as it is"
    fields, required = data_fields(schema), required_fields(schema)
    for name in fields:
        if not _NAME.match(name):
            yield f"{where}: expected a field called by Latin letters, digits and _, got {name!r}; columns are called so too"
    for field in msgspec.structs.fields(UserActionData):
        told = line(topic, EVENT, field.encode_name, SHAPE, schema.version)
        has = told.name in fields
        if field.required and not (told.name in required if has else isinstance(told.filled, str)):
            yield f"{where}: expected a required field that is {field.encode_name} of version {SHAPE}, got none; this code reads it"
        elif has and (kinds := types(fields[str(told.name)])) - ({"string"} if field.required else {"string", "null"}):
            yield f"{where}: expected {told.name} to be a text, which this code reads, got {' or '.join(sorted(kinds))}; give it a new name"


def attributes(topic: Topic, schema: EventSchema) -> dict[str, str]:
    """For each field of a version's data the attribute of the decoded data that holds it: the code's, or else its newest name."""
    newest = topic.versions(EVENT)[-1]
    ours = {
        told.name: field.name
        for field in msgspec.structs.fields(UserActionData)
        if (told := line(topic, EVENT, field.encode_name, SHAPE, schema.version)).name is not None
    }
    taken = {field.name for field in msgspec.structs.fields(UserActionData)}
    named = {}
    for wire in data_fields(schema):
        name = ours.get(wire) or snake(line(topic, EVENT, wire, schema.version, newest).name or wire)
        named[wire] = name if wire in ours or name not in taken else f"{name}_{schema.version}"
    return named


def _event(topic: Topic, schema: EventSchema, *, tagged: bool) -> Any:  # noqa: ANN401 - a type made at run time
    names = {field.name: field.encode_name for field in msgspec.structs.fields(UserAction)}
    members: list[Any] = [("data", _data(topic, schema))]
    tag: dict[str, Any] = {}
    if tagged:  # the version on the wire chooses among the types, and is a constant of each
        members.append(("version", Literal[schema.version], schema.version))
        names["version"], tag = _nowhere("version"), {"tag_field": "version", "tag": schema.version}
    return msgspec.defstruct("UserAction", members, bases=(UserAction,), rename=names, kw_only=True, frozen=True, gc=False, **tag)


def _data(topic: Topic, schema: EventSchema) -> Any:  # noqa: ANN401 - a type made at run time
    fields, required, named = data_fields(schema), required_fields(schema), attributes(topic, schema)
    members: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    names: dict[str, str] = {}
    for wire, part in fields.items():
        kind = field_type(part, f"UserAction_{snake(wire)}")
        members.append((named[wire], kind) if wire in required else (named[wire], kind, None))
        names[named[wire]] = wire
    for field in msgspec.structs.fields(UserActionData):
        if field.name not in names:  # this version lacks it: no name on the wire leads to it
            filled = line(topic, EVENT, field.encode_name, SHAPE, schema.version).filled
            members.append((field.name, None if filled is None else Literal[filled], filled))
            names[field.name] = _nowhere(field.name)
    return msgspec.defstruct("UserActionData", members, bases=(UserActionData,), rename=names, kw_only=True, frozen=True, gc=False)


def _nowhere(attribute: str) -> str:
    """A name on the wire for what does not stand there; who sends it all the same can only say what is there anyway."""
    return f"({attribute})"
