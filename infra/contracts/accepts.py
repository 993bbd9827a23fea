"""Whether one JSON Schema accepts every value that another does. Pure.

What the contracts use of draft 7 is compared keyword by keyword; a keyword that is not known here counts as narrower where it differs, so
that the answer "accepts" can be relied on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]
ANNOTATIONS = {"description", "unit", "title", "examples", "$comment", "$id", "$schema", "default", "deprecated", "column"}
"""Keywords that refuse no value."""
_LOWER, _UPPER = ("minimum", "exclusiveMinimum", "minLength", "minItems"), ("maximum", "exclusiveMaximum", "maxLength", "maxItems")
_NOTHING: Schema = {"not": {}}


def narrower(old: Schema, new: Schema, path: str = "") -> Iterator[str]:
    """Each way in which `new` refuses what `old` accepts, as a phrase such as `data.userId: maxLength 128 -> 64`."""
    where = path or "the value"
    if missing := types(old) - types(new) - ({"integer"} if "number" in types(new) else set()):
        yield f"{where}: {' or '.join(sorted(types(old)))} -> {' or '.join(sorted(types(new)))}, which takes no {sorted(missing)[0]}"
        return
    for keyword in sorted({*old, *new} - ANNOTATIONS - {"type", "properties", "required", "additionalProperties", "items"}):
        before, after = old.get(keyword), new.get(keyword)
        if before != after and not _loosens(keyword, old, before, after):
            yield f"{where}: {keyword} {_told(before)} -> {_told(after)}"
    if "array" in types(old):
        yield from _items(old.get("items", True), new.get("items", True), path)
    if "object" in types(old) and ({*old, *new} & {"properties", "required", "additionalProperties"}):
        yield from _object(old, new, path)


def types(schema: Schema) -> set[str]:
    """The types that it accepts, by JSON Schema's names; those of its constant or list of values where it names no type."""
    named = schema.get("type")
    if named is not None:
        return {named} if isinstance(named, str) else set(named)
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return {_type(value) for value in values} if values else {"array", "boolean", "null", "number", "object", "string"}


def _items(before: Any, after: Any, path: str) -> Iterator[str]:  # noqa: ANN401 - a schema, a list of schemas, true or false
    if before == after:
        return
    if isinstance(before, list) or isinstance(after, list):
        yield f"{path or 'the value'}: items by their position changed"
    else:
        yield from narrower(_schema(before), _schema(after), f"{path}[]")


def _object(old: Schema, new: Schema, path: str) -> Iterator[str]:
    before, after, prefix = old.get("properties", {}), new.get("properties", {}), f"{path}." if path else ""
    others = old.get("additionalProperties", True), new.get("additionalProperties", True)
    for name in sorted(set(new.get("required", ())) - set(old.get("required", ()))):
        yield f"{prefix}{name}: {'optional' if name in before else 'not there'} -> required"
    for name, field in before.items():
        if name in after:
            yield from narrower(_schema(field), _schema(after[name]), f"{prefix}{name}")
        elif others[1] is False:
            yield f"{prefix}{name}: there -> not there"
        else:
            yield from narrower(_schema(field), _schema(others[1]), f"{prefix}{name}")
    if others[0] is False:
        return
    if others[1] is False:
        yield f"{prefix or 'the value'}: open -> closed"
    elif others[0] != others[1]:
        yield from narrower(_schema(others[0]), _schema(others[1]), f"{prefix}*")
    for name in after:
        if name not in before:
            yield from _described(_schema(others[0]), _schema(after[name]), f"{prefix}{name}")


def _described(before: Schema, after: Schema, path: str) -> Iterator[str]:
    """A name that any other stood for before: what was taken under it may be refused now."""
    if set(before) - ANNOTATIONS:
        yield from narrower(before, after, path)
    elif set(after) - ANNOTATIONS:
        yield f"{path}: anything -> described"


def _schema(said: Any) -> Schema:  # noqa: ANN401 - a schema, true or false
    """True takes anything; false takes nothing, which no keyword but this one says."""
    return said if isinstance(said, Mapping) else {} if said is True else _NOTHING


def _loosens(keyword: str, old: Schema, before: Any, after: Any) -> bool:  # noqa: ANN401 - any keyword's value
    if after is None:
        return True
    if keyword == "enum" and isinstance(after, list):
        values = [old["const"]] if "const" in old else before
        return values is not None and all(value in after for value in values)
    if before is None:
        return False
    if keyword in _LOWER:
        return bool(after <= before)
    return keyword in _UPPER and bool(after >= before)


def _type(value: Any) -> str:  # noqa: ANN401 - any JSON value
    if value is None:
        return "null"
    kinds = ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (list, "array"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "object")


def _told(value: Any) -> str:  # noqa: ANN401 - any keyword's value
    return "none" if value is None else repr(value)
