"""What every contract must keep to: each rule gives the sentences of what breaks it, and RULES names them all."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jsonschema import Draft7Validator
from jsonschema.exceptions import SchemaError, best_match

from infra.contracts.contract import LETTER_ENVELOPE_BYTES, LETTER_KEY_BYTES, Contracts, EventSchema
from infra.contracts.patterns import slow
from infra.contracts.version_rules import VERSION_RULES

DAY_MS = 86_400_000
ENVELOPE = ("eventType", "eventId", "timestamp", "version", "source", "correlationId", "data")
STEPS = ("decode", "validate", "schema")
CLEANUPS = ("delete", "compact")
DEAD_LETTER = "DeadLetter"
_KEBAB = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")
_TABLE = re.compile(r"[a-z][a-z0-9_]*\Z")

_VALUES = {"const", "enum", "default", "examples"}
_NAMED = {"properties", "patternProperties", "definitions", "dependencies"}

Rule = Callable[[Contracts], Iterator[str]]


def topic_names_are_kebab_case(contracts: Contracts) -> Iterator[str]:
    """Dots collide with underscores in Kafka's metric names; one style makes a name guessable."""
    for topic in contracts.topics.values():
        if not _KEBAB.match(topic.name):
            yield _broken(topic.file, "a name in kebab-case without dots", f"{topic.name!r}", "rename the topic")


def topics_say_who_and_what(contracts: Contracts) -> Iterator[str]:
    """Somebody answers for each topic, and a reader learns what lies on it."""
    for topic in contracts.topics.values():
        for field in ("owner", "domain", "description", "producers", "consumers"):
            if not getattr(topic, field):
                yield _broken(topic.file, f"{field}", "nothing", "say it in one line")


def partitions_are_fixed(contracts: Contracts) -> Iterator[str]:
    """A user's order lives in one partition, so the number is stated once and never derived from the broker."""
    for topic in contracts.topics.values():
        if topic.partitions < 1:
            yield _broken(topic.file, "a fixed number of partitions from 1", f"{topic.partitions}", "state it")
        if topic.key.partitioner != "murmur2":
            yield _broken(topic.file, "partitioner murmur2", f"{topic.key.partitioner!r}", "every producer must agree on one")


def records_carry_the_brokers_time(contracts: Contracts) -> Iterator[str]:
    """Historical event times in Kafka's own timestamp would fall to retention at once."""
    for topic in contracts.topics.values():
        if topic.timestamp_type != "LogAppendTime":
            got = f"{topic.timestamp_type!r}"
            yield _broken(topic.file, "timestamp_type LogAppendTime", got, "event times stand in the event")


def schemas_evolve_backward(contracts: Contracts) -> Iterator[str]:
    """New readers must read what was written before: the archive is replayed."""
    for topic in contracts.topics.values():
        if topic.compatibility != "BACKWARD":
            yield _broken(topic.file, "compatibility BACKWARD", f"{topic.compatibility!r}", "the archive is read again and again")


def tables_are_named_after_topics(contracts: Contracts) -> Iterator[str]:
    """A topic's archive is found without a look-up; that there is none is said."""
    for topic in contracts.topics.values():
        if topic.table is None:
            continue
        expected = topic.name.replace("-", "_")
        if topic.table != expected or not _TABLE.match(topic.table):
            yield _broken(topic.file, f"table {expected!r}", f"{topic.table!r}", "the archive has the topic's name in snake_case")


def compacted_topics_hold_what_is_latest(contracts: Contracts) -> Iterator[str]:
    """Compaction takes what was replaced: neither may time take the latest, nor can a table hold each record."""
    for topic in contracts.topics.values():
        if topic.cleanup not in CLEANUPS:
            yield _broken(topic.file, f"cleanup {' or '.join(CLEANUPS)}", f"{topic.cleanup!r}", "correct it, or leave it out for delete")
        elif topic.cleanup == "compact" and topic.retention_ms is not None:
            got = f"{topic.retention_ms // 1000}s"
            yield _broken(topic.file, "retention unlimited, as the topic is compacted", got, "the latest record of a key stays")
        elif topic.cleanup == "compact" and topic.table is not None:
            got = f"{topic.table!r}"
            yield _broken(topic.file, "table null, as the topic is compacted", got, "an archive holds every record, this topic does not")


def events_have_schemas(contracts: Contracts) -> Iterator[str]:
    """What lies on a topic is described."""
    for topic in contracts.topics.values():
        if not topic.events:
            yield _broken(topic.file, "at least one event type", "none", "name what lies on the topic")
        for event_type, version in topic.events:
            if (event_type, version) not in contracts.schemas:
                kebab = re.sub(r"(?<!^)(?=[A-Z])", "-", event_type).lower()
                yield _broken(
                    topic.file,
                    f"schemas/{kebab}.v{version}.schema.json for {event_type} {version}",
                    "no such file",
                    "write it",
                )


def schemas_are_used(contracts: Contracts) -> Iterator[str]:
    """A schema that no topic names is dead text."""
    used = {event for topic in contracts.topics.values() for event in topic.events}
    for key, schema in contracts.schemas.items():
        if key not in used:
            yield _broken(schema.file, f"a topic that lists {key[0]} {key[1]}", "none", "add it to a topic or delete the file")


def examples_are_used(contracts: Contracts) -> Iterator[str]:
    """An example that no topic names is never checked."""
    used = {example.file for topic in contracts.topics.values() for example in (*topic.valid, *topic.invalid)}
    for file in sorted(contracts.example_files - {file for file in used if file}):
        yield _broken(file, "a topic that lists this example", "none", "name it under `examples` or delete the file")


def topics_have_examples(contracts: Contracts) -> Iterator[str]:
    """A contract without a message to show is a claim."""
    for topic in contracts.topics.values():
        for kind, examples in (("valid", topic.valid), ("invalid", topic.invalid)):
            if not examples:
                yield _broken(topic.file, f"at least one {kind} example", "none", "add one under `examples`")


def dead_letters_hold_what_they_replace(contracts: Contracts) -> Iterator[str]:
    """A refused key and value return in base64 beside the error and the key itself, and people need a week to look at them."""
    for topic in contracts.topics.values():
        if topic.dead_letter_topic is None:
            continue
        letters = contracts.topics.get(topic.dead_letter_topic)
        if topic.dead_letter_topic != f"{topic.name}-dlq" or letters is None:
            yield _broken(
                topic.file,
                f"dead_letter_topic {topic.name}-dlq with a contract",
                f"{topic.dead_letter_topic!r}",
                "write its contract",
            )
            continue
        in_base64 = -(-topic.max_message_bytes // 3) * 4
        needed = max(topic.max_message_bytes * 3 // 2, in_base64 + LETTER_KEY_BYTES + LETTER_ENVELOPE_BYTES)
        if letters.max_message_bytes < needed:
            yield _broken(
                letters.file,
                f"max_message_bytes of at least {needed}, for a key and value of {topic.name} in base64, the key again and an envelope",
                f"{letters.max_message_bytes}",
                "raise it",
            )
        if letters.retention_ms is not None and letters.retention_ms < 7 * DAY_MS:
            yield _broken(letters.file, "retention of at least 7d", f"{letters.retention_ms // 1000}s", "raise it")


def schemas_can_be_read(contracts: Contracts) -> Iterator[str]:
    """What else is asked of a schema counts on this."""
    for schema in contracts.schemas.values():
        try:
            Draft7Validator.check_schema(dict(schema.document))
        except SchemaError as error:
            yield _broken(schema.file, "a JSON Schema of draft 7", f"{error.message}", "mend the schema")
            continue
        except (OverflowError, RecursionError) as error:  # of a pattern
            yield _broken(schema.file, "patterns that can be read", f"{error}", "write it shorter")
            continue
        for pointer in _references(schema.document):  # which nothing that is made of a schema follows
            yield _broken(schema.file, "each part where it is used", f"$ref {pointer!r}", "write the part out")
        for path, part in _parts(schema.document, ""):
            if not isinstance(part, Mapping):
                yield _broken(schema.file, f"a schema at {path}", json.dumps(part), "say its type, description and unit")
            elif problem := slow(part):
                yield _broken(schema.file, f"what is looked at in a second, whatever comes, at {path}", problem, "or take it out")


def schemas_are_envelopes(contracts: Contracts) -> Iterator[str]:
    """Every value on every topic is the same envelope; its type and version are fixed by the schema's file name."""
    for schema in contracts.schemas.values():
        fields = schema.document.get("properties", {})
        if set(fields) != set(ENVELOPE) or set(schema.document.get("required", ())) != set(ENVELOPE):
            yield _broken(schema.file, f"the fields {', '.join(ENVELOPE)}, all required", ", ".join(fields), "as every event")
            continue
        for name, constant in (("eventType", schema.event_type), ("version", schema.version)):
            if fields[name].get("const") != constant:
                yield _broken(
                    schema.file,
                    f"{name} to be the constant {constant!r}",
                    f"{fields[name].get('const')!r}",
                    "as the file is called",
                )


def schemas_are_closed_and_described(contracts: Contracts) -> Iterator[str]:
    """Only a closed schema lets the registry accept an added optional field and refuse the rest; units end guessing."""
    for schema in contracts.schemas.values():
        for path, part in _objects(schema.document, ""):
            if part.get("additionalProperties") is not False:
                got = repr(part.get("additionalProperties"))
                yield _broken(schema.file, f"additionalProperties false at {path or 'the top'}", got, "close the schema")
            for name, field in part["properties"].items():
                for word in ("description", "unit"):
                    if not field.get(word):
                        yield _broken(schema.file, f"a {word} of {path}{name}", "nothing", "say it")


def valid_examples_fit_their_schema(contracts: Contracts) -> Iterator[str]:
    """Examples are executable."""
    for topic in contracts.topics.values():
        for example in topic.valid:
            problem = _misfit(example.value, [contracts.schemas[e] for e in topic.events if e in contracts.schemas])
            if problem:
                yield _broken(
                    example.file,
                    f"a message that a schema of {topic.name} accepts",
                    f"{problem[1]}",
                    "mend the example",
                )


def invalid_examples_name_their_refusal(contracts: Contracts) -> Iterator[str]:
    """Step decode or validate: the scoring path refuses it. Step schema: the schema does, by keyword `reason`."""
    for topic in contracts.topics.values():
        for example in topic.invalid:
            where = f"{topic.file}: invalid example {example.name}"
            if example.step not in STEPS or not example.reason:
                got = f"{example.step!r} and {example.reason!r}"
                yield _broken(where, f"a step of {', '.join(STEPS)} and a reason", got, "say why it is invalid")
            elif example.step == "schema":
                problem = _misfit(example.value, [contracts.schemas[e] for e in topic.events if e in contracts.schemas])
                got = problem[0] if problem else "acceptance"
                if got != example.reason:
                    yield _broken(where, f"the schema to refuse it by {example.reason!r}", f"{got}", "mend one of them")
            elif topic.dead_letter_topic is None:
                yield _broken(where, "step schema, as the topic has no dead letters", repr(example.step), "change the step")


def event_types_lie_on_one_topic(contracts: Contracts) -> Iterator[str]:
    """Who looks for an event finds it in one place. Dead letters alone lie beside the topic whose records they hold."""
    seen: dict[str, str] = {}
    letters = {topic.dead_letter_topic for topic in contracts.topics.values()}
    for topic in contracts.topics.values():
        for event_type in sorted({event_type for event_type, _ in topic.events}):
            if event_type == DEAD_LETTER:
                if topic.name not in letters:
                    expected = f"{DEAD_LETTER} on the dead_letter_topic of another topic"
                    yield _broken(topic.file, expected, f"it on {topic.name} too", "give what lies there another type")
                continue
            other = seen.setdefault(event_type, topic.name)
            if other != topic.name:
                yield _broken(topic.file, f"{event_type} on one topic", f"it on {other} too", "give one of them another type")


def _broken(where: object, expected: str, got: str, remedy: str) -> str:
    return f"{where}: expected {expected}, got {got}; {remedy}"


RULES: Mapping[str, Rule] = dict(VERSION_RULES) | {
    rule.__name__: rule
    for rule in (
        topic_names_are_kebab_case,
        topics_say_who_and_what,
        partitions_are_fixed,
        records_carry_the_brokers_time,
        schemas_evolve_backward,
        tables_are_named_after_topics,
        compacted_topics_hold_what_is_latest,
        events_have_schemas,
        schemas_are_used,
        examples_are_used,
        topics_have_examples,
        dead_letters_hold_what_they_replace,
        schemas_can_be_read,
        schemas_are_envelopes,
        schemas_are_closed_and_described,
        valid_examples_fit_their_schema,
        invalid_examples_name_their_refusal,
        event_types_lie_on_one_topic,
    )
}


def _parts(part: Any, path: str) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - any JSON
    """A schema, and each that stands in it as a field or an item, by its path."""
    yield path, part
    if not isinstance(part, Mapping):
        return
    for name, field in part.get("properties", {}).items():
        yield from _parts(field, f"{path}.{name}" if path else name)
    items = part.get("items", ())
    for item in items if isinstance(items, list | tuple) else (items,):
        yield from _parts(item, f"{path}[]")
    if not isinstance(others := part.get("additionalProperties", False), bool):
        yield from _parts(others, f"{path}.*")


def _references(part: Any) -> Iterator[Any]:  # noqa: ANN401 - any JSON
    """Each `$ref` of a schema; what fields are called and what stands in values is none."""
    if isinstance(part, list):
        for inside in part:
            yield from _references(inside)
    if not isinstance(part, Mapping):
        return
    if "$ref" in part:
        yield part["$ref"]
    for word, inside in part.items():
        if word not in _VALUES:
            yield from _references(list(inside.values()) if word in _NAMED and isinstance(inside, Mapping) else inside)


def _objects(part: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every object with named fields in a schema, those in arrays too, with its path such as `data.model.` or `data.items[].`."""
    fields = part.get("properties")
    if isinstance(fields, dict):
        yield path, part
        for name, field in fields.items():
            yield from _objects(field, f"{path}{name}.")
            if isinstance(items := field.get("items"), dict):
                yield from _objects(items, f"{path}{name}[].")


def _misfit(value: bytes | None, schemas: list[EventSchema]) -> tuple[str, str] | None:
    """Why none of the schemas accepts a message: (keyword, sentence) of its event type's, None when one does."""
    try:
        message = json.loads(value or b"")
    except (ValueError, RecursionError) as error:
        return "json", str(error)
    problem: tuple[str, str] = ("schema", "no schema at all")
    event_type = message.get("eventType") if isinstance(message, dict) else None
    for schema in [schema for schema in schemas if schema.event_type == event_type] or schemas:
        errors = list(Draft7Validator(dict(schema.document), format_checker=Draft7Validator.FORMAT_CHECKER).iter_errors(message))
        if not errors:
            return None
        closest = best_match(errors)
        assert closest is not None
        problem = (str(closest.validator), closest.message)
    return problem


def broken_rules(contracts: Contracts) -> list[str]:
    """Every sentence of every rule that is broken; where schemas cannot be read, theirs alone."""
    others = (rule for rule in RULES.values() if rule is not schemas_can_be_read)
    return list(schemas_can_be_read(contracts)) or [sentence for rule in others for sentence in rule(contracts)]
