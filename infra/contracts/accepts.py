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
_NUMBERS = {"integer", "number"}


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
    if isinstance(before := old.get("items"), Mapping) and isinstance(after := new.get("items"), Mapping):
        yield from narrower(before, after, f"{path}[]")
    if "properties" in old or "properties" in new:
        yield from _object(old, new, f"{path}." if path else "")


def types(schema: Schema) -> set[str]:
    """The types that it accepts, by JSON Schema's names; those of its constant or list of values where it names no type."""
    named = schema.get("type")
    if named is not None:
        return {named} if isinstance(named, str) else set(named)
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return {_type(value) for value in values} if values else {"array", "boolean", "null", "number", "object", "string"}


def _object(old: Schema, new: Schema, prefix: str) -> Iterator[str]:
    before, after = old.get("properties", {}), new.get("properties", {})
    for name in sorted(set(new.get("required", ())) - set(old.get("required", ()))):
        yield f"{prefix}{name}: {'optional' if name in before else 'not there'} -> required"
    for name, field in before.items():
        if name in after:
            yield from narrower(field, after[name], f"{prefix}{name}")
        elif new.get("additionalProperties", True) is False:
            yield f"{prefix}{name}: there -> not there"
    if old.get("additionalProperties", True) is not False:
        if new.get("additionalProperties", True) is False:
            yield f"{prefix or 'the value'}: open -> closed"
        for name in after:
            if name not in before:
                yield f"{prefix}{name}: anything -> described"


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
