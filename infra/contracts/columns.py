"""The fields of events as typed columns of their topic's table, and what stands in them, out of the bytes of a value. Pure.

A field is one column through all versions: it has the newest name, and the type that takes what any version held. What it holds is read by
that field alone, so it does not depend on what else a value says; the archive writes it and a reader fills it in by the same function.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any
from uuid import UUID

import msgspec

from infra.contracts.accepts import ANNOTATIONS, types
from infra.contracts.codec import DEPTH, event_milliseconds, nests_deeper
from infra.contracts.contract import EventSchema, Topic, Upcast
from infra.contracts.lineage import data_fields
from infra.contracts.structs import field_type, snake

_ALL_FIELDS = ("user-actions",)
"""Topics of which each field is a column; of others those whose schema says so, by `"column": true`."""
_TAKEN = {
    *("topic_partition", "topic_offset", "key", "value", "headers", "kafka_time"),
    *("event_time", "event_type", "event_id", "event_version", "source", "correlation_id"),
}
"""Columns that every archive table has: a field of such a name is called data_<name>."""
_INT = (-(2**31), 2**31 - 1)
_NONE = Upcast()


@dataclass(frozen=True)
class FieldColumn:
    """One field of `event_type` as a column of an Iceberg `type`. `was`: its names before, the latest first.

    `fields`: what it is called on the wire, by version; `filled`: what it holds in versions that lack it; `schemas`: by version.
    """

    event_type: str
    name: str
    type: str
    doc: str
    unit: str
    was: tuple[str, ...]
    fields: Mapping[int, str]
    filled: Mapping[int, Any] = field(default_factory=dict)
    schemas: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """All of it, for who reads a table without the contract files."""
        told = {name: getattr(self, name) for name in ("event_type", "name", "type", "doc", "unit")}
        by_version = {name: {str(v): part for v, part in getattr(self, name).items()} for name in ("fields", "filled", "schemas")}
        return told | {"was": list(self.was)} | by_version

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> FieldColumn:
        """As `to_json` gave it."""
        by_version: dict[str, Any] = {name: {int(v): part for v, part in told[name].items()} for name in ("fields", "filled", "schemas")}
        return cls(**{**told, **by_version, "was": tuple(told["was"])})

    def with_ended(self, before: FieldColumn, known: Collection[int]) -> FieldColumn:
        """As it was read `before` in versions that are not `known` any more: what was sent in them lies in the table all the same."""

        def both(now: Mapping[int, Any], then: Mapping[int, Any]) -> dict[int, Any]:
            return {version: part for version, part in then.items() if version not in known} | dict(now)

        return replace(
            self,
            fields=both(self.fields, before.fields),
            filled=both(self.filled, before.filled),
            schemas=both(self.schemas, before.schemas),
        )

    @property
    def has_parts(self) -> bool:
        """Whether it is JSON of an object or a list: written before a part of it was described, it lacks what its value says."""
        return self.type == "string" and any(types(schema) & {"object", "array"} for schema in self.schemas.values())

    @property
    def digest(self) -> str:
        """The same for columns that read all values alike."""
        schemas = {version: {k: v for k, v in schema.items() if k not in ANNOTATIONS} for version, schema in self.schemas.items()}
        told = [self.event_type, self.type, dict(self.fields), dict(self.filled), schemas]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]


def field_columns(schemas: Mapping[tuple[str, int], EventSchema], topic: Topic) -> tuple[FieldColumn, ...]:
    """The columns of a topic's fields, in the order in which they came to be.

    A field that is called as one was that came before it has the version in which it came behind its name.
    """
    kinds = dict.fromkeys(event_type for event_type, _ in topic.events)
    found: list[FieldColumn] = []
    for event_type in kinds:
        for column in _of_type(topic, event_type, {v: schemas[event_type, v] for v in topic.versions(event_type)}):
            is_taken = any(column.name in (one.name, *one.was) for one in found)
            found.append(replace(column, name=f"{column.name}_{min(column.fields)}") if is_taken else column)
    return tuple(found)


def clashes(schemas: Mapping[tuple[str, int], EventSchema], topic: Topic) -> list[str]:
    """Names that two columns would have, or that SQL, which does not mind capitals, takes for one."""
    columns = field_columns(schemas, topic)
    names = Counter(column.name.lower() for column in columns)
    came = Counter((column.event_type, min(column.fields), _named(column.fields[max(column.fields)]).lower()) for column in columns)
    return sorted({name for name, times in names.items() if times > 1} | {name for (_, _, name), times in came.items() if times > 1})


def _of_type(topic: Topic, event_type: str, schemas: Mapping[int, EventSchema]) -> list[FieldColumn]:
    lines: list[dict[int, str]] = []
    versions = topic.versions(event_type)
    for before, version in pairwise((0, *versions)):
        renamed = topic.upcasts.get((event_type, version), _NONE).renamed
        open_lines = {renamed.get(line[before], line[before]): line for line in lines if before in line}
        for name in data_fields(schemas[version]):
            if name in open_lines:
                open_lines[name][version] = name
            else:
                lines.append({version: name})
    return [
        _column(topic, event_type, line, schemas)
        for line in lines
        if topic.name in _ALL_FIELDS or any(data_fields(schemas[v])[name].get("column") for v, name in line.items())
    ]


def _column(topic: Topic, event_type: str, line: Mapping[int, str], schemas: Mapping[int, EventSchema]) -> FieldColumn:
    parts = {version: data_fields(schemas[version])[name] for version, name in line.items()}
    newest, first = parts[max(parts)], min(line)
    names = list(dict.fromkeys(_named(line[version]) for version in sorted(line, reverse=True)))
    upcast = topic.upcasts.get((event_type, first), _NONE)
    filled = {version: upcast.filled[line[first]] for version in schemas if version < first and line[first] in upcast.filled}
    told = str(newest.get("description", "")), str(newest.get("unit", ""))
    return FieldColumn(event_type, names[0], iceberg_type(newest), *told, tuple(names[1:]), dict(line), filled, parts)


def _named(field: str) -> str:
    return f"data_{name}" if (name := snake(field)) in _TAKEN else name


def iceberg_type(schema: Mapping[str, Any]) -> str:
    """The type of a column for values of a schema; `string` holds as JSON what has no type of its own."""
    kinds = types(schema) - {"null"}
    if kinds == {"string"}:
        return "timestamptz" if schema.get("format") == "date-time" else "string"
    if kinds == {"boolean"}:
        return "boolean"
    if kinds == {"integer"}:
        # others are no values of it, which a rule says
        values = [value for value in schema.get("enum", [schema.get("const")]) if types({"const": value}) <= {"integer", "number"}]
        low, high = (min(values), max(values)) if values else (schema.get("minimum"), schema.get("maximum"))
        return "int" if low is not None and high is not None and _INT[0] <= low and high <= _INT[1] else "long"
    if kinds and kinds <= {"integer", "number"}:
        return "double"
    if kinds == {"array"} and isinstance(items := schema.get("items"), Mapping):
        inner = iceberg_type(items)
        return f"list<{inner}>" if inner in ("string", "long", "int", "double", "boolean") and _is_plain(items) else "string"
    return "string"


def _is_plain(items: Mapping[str, Any]) -> bool:
    return not types(items) & {"object", "array"} and len(types(items) - {"null"}) == 1


class Extractor:
    """Reads columns out of values. `names`: of the columns, in their order."""

    def __init__(self, columns: Sequence[FieldColumn]) -> None:
        self.names = tuple(column.name for column in columns)
        self._columns = {column.name: column for column in columns}
        versions = sorted({version for column in columns for version in (*column.fields, *column.filled)})
        self._whole = {version: _reader(columns, version) for version in versions}
        self._alone = {(version, column.name): _reader([column], version) for version in versions for column in columns}

    def read(self, value: bytes | None, version: int | None) -> dict[str, Any]:
        """The columns of one value of that version that hold something; a field that does not fit its schema holds nothing.

        Times are milliseconds since 1970; what `iceberg_type` calls string and is none is JSON.
        """
        if value is None or version not in self._whole or nests_deeper(value, DEPTH):
            return {}
        try:
            read = self._whole[version].decode(value).data
        except (msgspec.MsgspecError, ValueError):
            return self._one_by_one(value, version)
        return self._told(read, self.names, version)

    def _one_by_one(self, value: bytes, version: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in self.names:
            try:
                found |= self._told(self._alone[version, name].decode(value).data, (name,), version)
            except (msgspec.MsgspecError, ValueError):
                continue
        return found

    def _told(self, read: Any, names: Sequence[str], version: int) -> dict[str, Any]:  # noqa: ANN401 - a type made at run time
        found: dict[str, Any] = {}
        for name in names:
            column = self._columns[name]
            given = getattr(read, name, msgspec.UNSET) if version in column.fields else column.filled.get(version, msgspec.UNSET)
            if given is not msgspec.UNSET and given is not None:
                found[name] = _plain(given, column.type)
        return found


def _reader(columns: Sequence[FieldColumn], version: int) -> msgspec.json.Decoder[Any]:
    there = [column for column in columns if version in column.fields]
    members = [(column.name, field_type(column.schemas[version], f"column_{column.name}"), msgspec.UNSET) for column in there]
    names = {column.name: column.fields[version] for column in there}
    data = msgspec.defstruct("Columns", members, rename=names, frozen=True, gc=False)
    return msgspec.json.Decoder(msgspec.defstruct("Event", [("data", data)], frozen=True, gc=False))


def _plain(given: Any, kind: str) -> Any:  # noqa: ANN401 - any value of an event
    if kind == "timestamptz":
        return event_milliseconds(given)
    if kind == "string":
        if isinstance(given, str):
            return given
        return str(given) if isinstance(given, UUID) else msgspec.json.encode(given).decode()
    if kind == "double":
        return float(given)
    if kind.startswith("list<"):
        inner = kind[5:-1]
        return [None if item is None else _plain(item, inner) for item in given]
    return given
