"""Two schemas of one version of an event -> what changed in its fields, and whether old and new readers and writers agree. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from infra.contracts.accepts import narrower, types
from infra.contracts.columns import iceberg_type
from infra.contracts.contract import EventSchema
from infra.contracts.fields import Field, fields_of
from infra.contracts.lineage import data_fields

_TEXTS = ("title", "description", "unit", "examples", "$comment", "deprecated", "column", "default")
_WIDENED = {("int", "long"), ("float", "double")}
"""What a column may become while it keeps its values."""
_INSIDE = ("properties", "required", "items")


@dataclass(frozen=True)
class FieldChange:
    """One field's change; `path` None: of the schema as a whole."""

    path: str | None
    what: str
    safe: bool
    sentence: str


def changes(before: EventSchema, after: EventSchema, newest: int) -> Iterator[FieldChange]:
    """Every change. `newest`: the newest version of the event, which a remedy counts on from."""
    found = list(_by_field(before, after, newest))
    yield from found
    if all(change.safe for change in found) and (refused := list(narrower(before.document, after.document))):
        # keywords of the schema as a whole, or a place where no field was described
        text = (
            f"{'; '.join(refused)}: values that were right are refused; write version {newest + 1} of {before.event_type} beside this one"
        )
        yield FieldChange(None, "narrowed", False, f"{text}, and mark version {before.version} `deprecated`")
    elif not found and (words := sorted(_loosened(before.document, after.document))):
        yield FieldChange(None, "limit loosened", True, f"{', '.join(words)}: takes more than before")


def _by_field(before: EventSchema, after: EventSchema, newest: int) -> Iterator[FieldChange]:
    old, new = fields_of(before), fields_of(after)
    added = {path: new[path] for path in new if path not in old and new[path].within.rstrip("[]") not in new.keys() - old.keys()}
    gone = [old[path] for path in old if path not in new and old[path].within.rstrip("[]") not in old.keys() - new.keys()]
    renamed: set[str] = set()
    for field in gone:
        other = _alike(field, [one for path, one in added.items() if path not in renamed])
        renamed |= {other.path} if other else set()
        yield FieldChange(field.path, "field renamed" if other else "field removed", False, _gone(before, field, other, newest))
    for field in added.values():
        if field.path not in renamed:
            yield _added(before, field, newest)
    for path in old:
        if path in new:
            yield from _changed(before, old[path], new[path], newest)
    told = [{word: schema.document.get(word) for word in _TEXTS} for schema in (before, after)]
    if told[0] != told[1]:
        yield FieldChange(None, "described anew", True, "described anew")


def _loosened(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Keywords of the schema as a whole that differ."""
    for word in {*before, *after} - {*_TEXTS, "properties", "required"}:
        if before.get(word) != after.get(word):
            yield word


def names(schema: EventSchema) -> Collection[str]:
    """The names in `data`."""
    return data_fields(schema).keys()


def _gone(schema: EventSchema, field: Field, other: Field | None, newest: int) -> str:
    event, following = schema.event_type, newest + 1
    if other is None:
        text = f"removed: who reads {field.path} is left without it; write version {following} of {event} without it beside this one"
        return f"{text} (with `upcast: {{}}`), and mark version {schema.version} `deprecated`"
    was, name = (one.path.rsplit(".", 1)[-1] for one in (field, other))
    text = f"removed, and {other.path} of the same shape added: it looks like a rename, which nobody who reads {was} hears of"
    return (
        f"{text}; write version {following} of {event} beside this one with `upcast: {{renamed: {{{was}: {name}}}}}`,"
        f" and mark version {schema.version} `deprecated`"
    )


def _added(schema: EventSchema, field: Field, newest: int) -> FieldChange:
    if not field.required:
        return FieldChange(field.path, "field added", True, "new optional field")
    text = "new and required: events that lie in the topic, and those of producers that are not released yet, lack it; make it optional"
    remedy = f"or write version {newest + 1} of {schema.event_type} with `upcast: {{filled: ...}}`, and mark version {schema.version}"
    return FieldChange(field.path, "required field added", False, f"{text}, {remedy} `deprecated`")


def _changed(schema: EventSchema, old: Field, new: Field, newest: int) -> Iterator[FieldChange]:
    path, beside = old.path, f"write version {newest + 1} of {schema.event_type} beside this one"
    beside += f", and mark version {schema.version} `deprecated`"
    if old.required != new.required:
        how = "optional -> required: events without it are refused" if new.required else "required -> optional: readers count on it"
        yield FieldChange(path, "made required" if new.required else "made optional", False, f"{how}; leave it, or {beside}")
    before, after = (_own(field.schema) for field in (old, new))
    if refused := [how.removeprefix(f"{path}: ") for how in narrower(before, after, path)]:
        what = "type changed" if _types(before) != _types(after) else "narrowed"
        yield FieldChange(path, what, False, f"{'; '.join(refused)}: values that were right are refused; {beside}")
    elif old.required and "null" in types(after) - types(before):
        yield FieldChange(path, "made nullable", False, f"null beside a required value: readers count on it; leave it, or {beside}")
    elif _without_texts(before) != _without_texts(after):
        yield _wider(path, before, after, beside)
    units = old.schema.get("unit"), new.schema.get("unit")
    if units[0] != units[1] and types(old.schema) & {"integer", "number"}:
        text = f"unit {units[0]} -> {units[1]}: the same number means something else, and nobody would notice; {beside}"
        yield FieldChange(path, "unit changed", False, text)
    elif any(old.schema.get(word) != new.schema.get(word) for word in _TEXTS):
        yield FieldChange(path, "described anew", True, "described anew")


def _wider(path: str, before: Mapping[str, Any], after: Mapping[str, Any], beside: str) -> FieldChange:
    """Whatever was right is right still. But a column, and a reader's variable, holds one type, and null."""
    columns = iceberg_type(before), iceberg_type(after)
    text = f"{_told(before)} -> {_told(after)}" if _types(before) != _types(after) else f"a column of {columns[0]} -> {columns[1]}"
    if _types(before, null=False) == _types(after, null=False) and (columns[0] == columns[1] or columns in _WIDENED):
        same = _types(before) == _types(after)
        return FieldChange(path, "limit loosened" if same else "type widened", True, "takes more than before" if same else text)
    why = "readers and the column that hold it are made for the one type; add a field of the new type beside it"
    return FieldChange(path, "type changed", False, f"{text}: {why}, or {beside}")


def _own(schema: Mapping[str, Any]) -> dict[str, Any]:
    """What a schema says of the value itself; the fields of an object, and of those in an array, are compared one by one."""
    items = schema.get("items")
    inside = {} if items is None else {"items": _own(items) if isinstance(items, Mapping) else items}
    return {word: value for word, value in schema.items() if word not in _INSIDE} | inside


def _types(schema: Mapping[str, Any], *, null: bool = True) -> Any:  # noqa: ANN401 - of a value, and of what lies in an array or a map
    own = frozenset(types(schema) - (set() if null else {"null"}))
    inside = (schema.get("items"), schema.get("additionalProperties"))
    return (own, *(_types(part, null=null) if isinstance(part, Mapping) else None for part in inside))


def _told(schema: Mapping[str, Any]) -> str:
    items = schema.get("items")
    inside = f" of {_told(items)}" if isinstance(items, Mapping) else ""
    return " or ".join(sorted(types(schema))) + inside


def _without_texts(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {word: _without_texts(value) if word == "items" else value for word, value in schema.items() if word not in _TEXTS}


def _alike(gone: Field, added: Collection[Field]) -> Field | None:
    """The added field beside it that holds the same; where there are several, the one that says the same of itself."""
    there = [one for one in added if one.within == gone.within and _bare(one.schema) == _bare(gone.schema)]
    exact = [one for one in there if one.schema.get("description") == gone.schema.get("description")]
    return next(iter([*exact, *there]), None)


def _bare(value: Any) -> Any:  # noqa: ANN401 - any part of a schema
    if isinstance(value, Mapping):
        return {word: _bare(part) for word, part in value.items() if word not in _TEXTS}
    return value
