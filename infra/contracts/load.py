"""Contract files -> values. The one way in: what breaks a rule is refused here, with the file named."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import yaml

from infra.contracts.codec import nests_deeper
from infra.contracts.contract import Contracts, Deprecation, EventSchema, EventTime, Example, Key, Topic, Upcast
from infra.contracts.rules import broken_rules
from infra.contracts.strict import strict_json, strict_yaml
from infra.errors import StreamhouseError

FOLDER = Path(__file__).resolve().parent

__all__ = ["ContractError", "Contracts", "EventSchema", "EventTime", "Example", "Key", "Topic", "load_contracts"]

_TOPIC_KEYS = {
    *("name", "domain", "owner", "description", "key", "producers", "consumers", "partitions", "cleanup", "retention"),
    *("max_message_bytes", "timestamp_type", "compatibility", "dead_letter_topic", "events", "event_time", "table"),
    "examples",
}
_NESTING = 50  # of a schema; what walks it goes several calls deeper at each step
_UNIT = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_MOST_MS = 36_500 * 86_400_000  # a hundred years; added to a time it is still one
_MOST = 2**31 - 1  # what Kafka takes for a number of bytes
_SCHEMA_NAME = re.compile(r"(?P<kebab>[a-z]+(?:-[a-z]+)*)\.v(?P<version>[1-9][0-9]*)\.schema\.json\Z")


class ContractError(StreamhouseError):
    """A contract file that cannot be read, or contracts that break a rule."""


def load_contracts(folder: Path = FOLDER) -> Contracts:
    """Read `topics/*.yaml`, `schemas/*.schema.json` and `examples/` below `folder`, and hold them to every rule.

    The project's own are read once: a process keeps the contracts that it began with.

    Raises:
        ContractError: a file with an unknown, missing or mistyped key, or every sentence of every broken rule.

    """
    if folder != FOLDER:
        return load_anew(folder)
    if not _OWN:
        _OWN.append(load_anew(FOLDER))
    return _OWN[0]


def take_own_unheld() -> None:
    """Take the project's own from here on although they may break rules: for the gate, which says every rule that they break itself.

    Raises:
        ContractError: as `read_contracts`.

    """
    _OWN[:] = [read_contracts(FOLDER)]


_OWN: list[Contracts] = []


def load_anew(folder: Path = FOLDER) -> Contracts:
    """As `load_contracts`, of the files as they are now, whatever the process began with; raises as it."""
    contracts = read_contracts(folder)
    if broken := broken_rules(contracts):
        raise ContractError("\n".join(broken))
    return contracts


def read_contracts(folder: Path) -> Contracts:
    """Read without holding the files to the rules.

    Raises:
        ContractError: a file with an unknown, missing or mistyped key.

    """
    topics = [_topic(file, folder) for file in sorted((folder / "topics").glob("*.yaml"))]
    schemas = [_schema(file) for file in sorted((folder / "schemas").glob("*.json"))]
    files = frozenset(file for file in (folder / "examples").rglob("*") if file.is_file())
    return Contracts(
        folder=folder,
        topics={topic.name: topic for topic in topics},
        schemas={(schema.event_type, schema.version): schema for schema in schemas},
        example_files=files,
    )


def duration_ms(text: object, where: str) -> int:
    """`7d`, `12h`, `30m`, `45s` in milliseconds.

    Raises:
        ContractError: anything else.

    """
    if isinstance(text, str) and text[:-1].isascii() and text[:-1].isdigit() and text[-1] in _UNIT:
        if len(text) < 20 and (found := int(text[:-1]) * _UNIT[text[-1]]) <= _MOST_MS:
            return found
        message = f"{where}: expected at most {_MOST_MS // 86_400_000}d, got {text!r}; write a shorter duration"
        raise ContractError(message)
    message = f"{where}: expected a duration such as 7d, 12h, 30m or 45s, got {text!r}; write a whole number and one unit"
    raise ContractError(message)


def _topic(file: Path, folder: Path) -> Topic:
    fields = _Fields(_parsed(file), str(file), _TOPIC_KEYS)
    name = fields.text("name")
    if file.stem != name:
        message = f"{file}: expected name {file.stem!r}, as the file is called, got {name!r}; rename one of them"
        raise ContractError(message)
    key = fields.part("key", {"field", "partitioner"})
    listed = fields.parts("events", {"type", "version", "deprecated", "upcast"})
    events = {_event(part): part for part in listed}
    if len(events) < len(listed):
        twice = next(part for part in listed if events[_event(part)] is not part)
        raise twice.refused("", "an event of each type and version once", " ".join(map(str, _event(twice))))
    examples = fields.part("examples", {"valid", "invalid"})
    beside = folder / "examples" / name
    return Topic(
        name=name,
        file=file,
        domain=fields.text("domain"),
        owner=fields.text("owner"),
        description=fields.text("description"),
        key=Key(key.optional_text("field"), key.text("partitioner")),
        producers=fields.texts("producers"),
        consumers=fields.texts("consumers"),
        partitions=fields.number("partitions"),
        cleanup=fields.optional_text("cleanup") or "delete",
        retention_ms=None if fields.get("retention") == "unlimited" else duration_ms(fields.get("retention"), f"{file}: retention"),
        max_message_bytes=fields.number("max_message_bytes"),
        timestamp_type=fields.text("timestamp_type"),
        compatibility=fields.text("compatibility"),
        dead_letter_topic=fields.optional_text("dead_letter_topic"),
        events=tuple(events),
        event_time=_event_time(fields),
        table=fields.text_or_null("table"),
        valid=tuple(_example(beside / "valid" / text) for text in examples.texts("valid")),
        invalid=tuple(
            _invalid_example(part, beside / "invalid")
            for part in examples.parts("invalid", {"name", "file", "step", "reason", "partition", "kafka_time", "headers"})
        ),
        deprecations={event: _deprecation(part) for event, part in events.items() if part.get("deprecated") is not None},
        upcasts={event: _upcast(part) for event, part in events.items() if part.get("upcast") is not None},
    )


def _event(part: _Fields) -> tuple[str, int]:
    return part.text("type"), part.number("version")


def _deprecation(event: _Fields) -> Deprecation:
    part = event.part("deprecated", {"ends", "owner", "replacement"})
    instead = part.part("replacement", {"type", "version"})
    return Deprecation(part.day("ends"), part.text("owner"), _event(instead))


def _upcast(event: _Fields) -> Upcast:
    part = event.part("upcast", {"renamed", "filled"})
    filled = part.get("filled") or {}
    if not isinstance(filled, dict):
        raise part.refused("filled", "a mapping of fields to values", filled)
    return Upcast({} if part.get("renamed") is None else part.texts_by_name("renamed"), filled)


def _event_time(fields: _Fields) -> EventTime | None:
    if fields.get("event_time") is None:
        return None
    window = fields.part("event_time", {"not_before", "ahead"})
    return EventTime(window.moment_ms("not_before"), duration_ms(window.get("ahead"), f"{window.where}: ahead"))


def _example(file: Path) -> Example:
    try:
        return Example(file.stem, file.read_bytes(), file)
    except OSError as error:
        message = f"{file}: expected an example message, got {error.strerror}; write it or drop its name"
        raise ContractError(message) from error


def _invalid_example(part: _Fields, folder: Path) -> Example:
    name = part.optional_text("file")
    example = Example(part.text("name"), None, None) if name is None else _example(folder / name)
    return Example(
        name=example.name,
        value=example.value,
        file=example.file,
        step=part.text("step"),
        reason=part.text("reason"),
        partition=None if part.get("partition") is None else part.number("partition"),
        kafka_time_ms=None if part.get("kafka_time") is None else part.moment_ms("kafka_time"),
        headers={} if part.get("headers") is None else part.texts_by_name("headers"),
    )


def _schema(file: Path) -> EventSchema:
    named = _SCHEMA_NAME.match(file.name)
    if not named:
        message = f"{file}: expected a name such as user-action.v1.schema.json; rename the file"
        raise ContractError(message)
    event_type = "".join(word.capitalize() for word in named["kebab"].split("-"))
    return EventSchema(event_type, int(named["version"]), file, _parsed(file))


def _parsed(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text("utf-8")
        is_deep = file.suffix == ".json" and nests_deeper(text.encode(), _NESTING)
        document = None if is_deep else strict_json(text) if file.suffix == ".json" else strict_yaml(text)
    except (OSError, UnicodeDecodeError, ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        message = f"{file}: expected {'JSON' if file.suffix == '.json' else 'YAML'} in UTF-8, got {error}; mend the file"
        raise ContractError(message) from error
    if is_deep:
        message = f"{file}: expected at most {_NESTING} arrays and objects in each other, got more; make it flatter"
        raise ContractError(message)
    if not isinstance(document, dict):
        message = f"{file}: expected a mapping, got {type(document).__name__}; start the file with `key: value` lines"
        raise ContractError(message)
    return document


class _Fields:
    """A mapping from a file, read key by key with a sentence for each thing that is not as expected."""

    def __init__(self, mapping: object, where: str, allowed: set[str]) -> None:
        self.where = where
        if not isinstance(mapping, dict):
            raise self.refused("", "a mapping", mapping)
        if unknown := sorted(set(map(str, mapping)) - allowed):
            message = f"{where}: unknown key {unknown[0]!r}; expected only {', '.join(sorted(allowed))}"
            raise ContractError(message)
        self._mapping = mapping

    def get(self, key: str) -> object:
        return self._mapping.get(key)

    def text(self, key: str) -> str:
        value = self.get(key)
        if isinstance(value, str):
            return value.strip()
        raise self.refused(key, "a text", value)

    def optional_text(self, key: str) -> str | None:
        return None if self.get(key) is None else self.text(key)

    def text_or_null(self, key: str) -> str | None:
        """A key that may be null, but not left out: who means null says so."""
        if key in self._mapping:
            return self.optional_text(key)
        raise self.refused(key, "a text or null", "nothing")

    def number(self, key: str) -> int:
        value = self.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST:
            return value
        raise self.refused(key, f"at most {_MOST}" if isinstance(value, int) and value > _MOST else "a whole number", value)

    def moment_ms(self, key: str) -> int:
        value = self.get(key)
        if isinstance(value, datetime):
            return round((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp() * 1000)
        if isinstance(value, date):
            return round(datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp() * 1000)
        raise self.refused(key, "a date or a time such as 2015-01-01T00:00:00Z", value)

    def day(self, key: str) -> date:
        value = self.get(key)
        if isinstance(value, date) and not isinstance(value, datetime):
            return value
        raise self.refused(key, "a day such as 2027-06-30", value)

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.get(key)
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise self.refused(key, "a list of texts", value)

    def texts_by_name(self, key: str) -> dict[str, str]:
        value = self.get(key)
        if isinstance(value, dict) and all(isinstance(text, str) for pair in value.items() for text in pair):
            return value
        raise self.refused(key, "a mapping of texts", value)

    def part(self, key: str, allowed: set[str]) -> _Fields:
        return _Fields(self.get(key), f"{self.where}: {key}", allowed)

    def parts(self, key: str, allowed: set[str]) -> list[_Fields]:
        value = self.get(key)
        if not isinstance(value, list):
            raise self.refused(key, "a list of mappings", value)
        return [_Fields(item, f"{self.where}: {key}[{i}]", allowed) for i, item in enumerate(value)]

    def refused(self, key: str, expected: str, got: object) -> ContractError:
        where = f"{self.where}: {key}" if key else self.where
        return ContractError(f"{where}: expected {expected}, got {got!r}; mend the contract file")
