"""Events of other versions as the struct that the code has: renamed fields by their other name, missing ones as the contract fills them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from msgspec import NODEFAULT, Struct

from infra.contracts.contract import Contracts
from infra.contracts.lineage import data_fields, line

Decode = Callable[[bytes | msgspec.Raw], Any]


def other_versions(kind: type[Struct], topic_name: str, shape: int, contracts: Contracts) -> Iterator[tuple[int, Decode]]:
    """Each version beside `shape` that the contract of a topic names for the event type that `kind` is called, and what decodes its data.

    A version that lacks a field which the struct must have, and that nothing fills, is left out: the code is to be released first.
    """
    topic = contracts.topics.get(topic_name)
    for version in topic.versions(kind.__name__) if topic else ():
        if version == shape:
            continue
        members: list[tuple[str, Any] | tuple[str, Any, Any]] = []
        names, filled, there = {}, {}, data_fields(contracts.schemas[kind.__name__, version])
        for field in msgspec.structs.fields(kind):
            told = line(topic, kind.__name__, field.encode_name, shape, version) if topic else None
            if told is not None and told.name in there:
                members.append((field.name, field.type, *_default(field)))
                names[field.name] = str(told.name)
            elif told is not None and told.is_filled:
                filled[field.name] = msgspec.convert(told.filled, field.type)
            elif field.required:
                break
        else:
            yield version, _decode(kind, msgspec.defstruct(kind.__name__, members, rename=names, kw_only=True), filled)


def _decode(kind: type[Struct], wire: type[Struct], filled: dict[str, Any]) -> Decode:
    decoder, names = msgspec.json.Decoder(wire), [field.name for field in msgspec.structs.fields(wire)]

    def decode(data: bytes | msgspec.Raw) -> Struct:
        read = decoder.decode(data)
        return kind(**{name: getattr(read, name) for name in names}, **filled)

    return decode


def _default(field: msgspec.structs.FieldInfo) -> tuple[Any, ...]:
    if field.default is not NODEFAULT:
        return (field.default,)
    return () if field.default_factory is NODEFAULT else (msgspec.field(default_factory=field.default_factory),)
