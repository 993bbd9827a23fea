"""The messages of every aggregate and the replies: a struct and its schema say the same, and their examples are read as stated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from infra.config import load_settings
from infra.contracts.contract import Example, Topic
from infra.contracts.events import Rejected
from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from jobs.participants import aggregates, participants
from jobs.patterns import replies
from jobs.patterns.message import Codec, Envelope, Message, encode
from jobs.shop import analytics, messages, notification, project

CONTRACTS = load_contracts()
PARTICIPANTS = participants(load_settings({})).values()
AGGREGATES = aggregates(load_settings({})).values()
TYPES = [kind for aggregate in AGGREGATES for kind in (*aggregate.commands, *aggregate.events)]
TYPES += [replies.CommandAccepted, replies.CommandRefused]
TOPICS = [CONTRACTS.topics[name] for name in sorted({kind.topic for kind in TYPES})]
VALID = [(topic, example) for topic in TOPICS for example in topic.valid]
REFUSED = [(topic, example) for topic in TOPICS for example in topic.invalid if example.step != "schema"]
WORDS = ("minimum", "maximum", "minLength", "maxLength", "enum")


def codec(topic: Topic) -> Codec:
    return Codec([kind for kind in TYPES if kind.topic == topic.name])


def decoded(topic: Topic, example: Example) -> Envelope | Rejected:
    return codec(topic).decode(example.value, [(name, text.encode()) for name, text in example.headers.items()])


@pytest.mark.parametrize(("topic", "example"), VALID, ids=lambda of: of.name)
def test_a_valid_example_is_read_and_written_again_as_it_is(topic: Topic, example: Example) -> None:
    envelope = decoded(topic, example)
    assert isinstance(envelope, Envelope), envelope
    key, value, _ = encode(envelope)
    assert json.loads(value) == json.loads(example.value or b"")
    data = json.loads(value)["data"]
    assert topic.key.field is not None
    assert key.decode() == data[topic.key.field.removeprefix("data.")]


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_each_type_of_a_topic_has_an_example_and_a_struct(topic: Topic) -> None:
    shown = {(envelope.type, envelope.data.version) for e in topic.valid if isinstance(envelope := decoded(topic, e), Envelope)}
    assert shown == set(topic.events) == set(codec(topic).types)


def test_a_contract_names_the_services_that_write_and_read_its_topic() -> None:
    reads = {(topic, one.name) for one in PARTICIPANTS for topic in one.topics}
    reads |= {(topic, project.NAME) for projection in project.PROJECTIONS for topic in projection.topics}
    reads |= {(messages.OrderPlaced.topic, group) for group in (analytics.GROUP, notification.GROUP)}
    assert {(topic, name) for topic, name in reads if name not in CONTRACTS.topics[topic].consumers} == set()
    owners = [(one.name, one.aggregate) for one in PARTICIPANTS if one.aggregate is not None]
    writes = {(topic, name) for name, owned in owners for topic in (owned.topic, f"{owned.command_topic}-dlq", "aggregate-snapshots")}
    writes |= {(replies.CommandAccepted.topic, name) for name, _ in owners} | {(one.dead_letters, one.name) for one in PARTICIPANTS}
    assert {(topic, name) for topic, name in writes if name not in CONTRACTS.topics[topic].producers} == set()


@pytest.mark.parametrize(("topic", "example"), REFUSED, ids=lambda of: of.name)
def test_an_invalid_command_is_refused_for_the_stated_reason(topic: Topic, example: Example) -> None:
    refused = decoded(topic, example)
    assert isinstance(refused, Rejected), refused
    assert (refused.step, refused.reason) == (example.step, example.reason)


def test_only_commands_are_refused_by_a_reader_and_each_of_them_has_letters() -> None:
    assert {topic.name for topic, _ in REFUSED} == {topic.name for topic in TOPICS if topic.name.endswith("-commands")}
    for topic in TOPICS:
        assert (topic.dead_letter_topic == f"{topic.name}-dlq") is topic.name.endswith("-commands"), topic.name


def test_commands_lie_in_the_partition_of_their_events() -> None:
    """A service decides the commands of a partition by the events of the partition of the same number."""
    pairs = {"order": "orders", "payment": "payments", "inventory": "inventory", "shipping": "shipping", "account": "accounts"}
    for name, events in pairs.items():
        commands, of = CONTRACTS.topics[f"{name}-commands"], CONTRACTS.topics[events]
        assert (commands.partitions, commands.key) == (of.partitions, of.key)
        assert CONTRACTS.topics["aggregate-snapshots"].partitions == of.partitions
    assert {partition_of(f"order_{i:04d}", 4) for i in range(40)} == {0, 1, 2, 3}


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_a_struct_and_its_schema_say_the_same(kind: type[Message]) -> None:
    topic = CONTRACTS.topics[kind.topic]
    assert (kind.__name__, kind.version) in topic.events
    names = {field.name: field.encode_name for field in msgspec.structs.fields(kind)}
    assert topic.key.field == f"data.{names[kind.key]}"
    document = CONTRACTS.schemas[kind.__name__, kind.version].document
    made = msgspec.json.schema(kind)
    assert dict(limits(document["properties"]["data"], {})) == dict(limits(made, made["$defs"]))


def test_what_differs_between_a_struct_and_a_schema_is_seen() -> None:
    """The comparison above looks at each of these."""
    made = msgspec.json.schema(messages.OrderPlaced)
    document = json.loads(json.dumps(CONTRACTS.schemas["OrderPlaced", 1].document))["properties"]["data"]
    same = dict(limits(made, made["$defs"]))
    for path, word, value in (
        ((), "required", ["orderId"]),
        (("properties", "orderId"), "maxLength", 127),
        (("properties", "deadline"), "type", "number"),
        (("properties", "actionId"), "type", "string"),
        (("properties", "items", "items", "properties", "quantity"), "minimum", 0),
        (("properties", "items", "items"), "required", ["sku", "quantity"]),
    ):
        changed = json.loads(json.dumps(document))
        part = changed
        for name in path:
            part = part[name]
        part[word] = value
        assert dict(limits(changed, {})) != same, (path, word)
    del document["properties"]["cents"]
    assert dict(limits(document, {})) != same


def test_every_envelope_has_one_form() -> None:
    """Descriptions may differ: what happened is not what is asked."""
    forms = {
        json.dumps({name: {w: v for w, v in field.items() if w not in ("description", "const")} for name, field in head.items()})
        for head in ({n: f for n, f in s.document["properties"].items() if n != "data"} for s in CONTRACTS.schemas.values())
    }
    assert len(forms) == 1


def limits(part: dict[str, Any], definitions: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """What a part of a schema allows, by path: types, limits, the names of fields and which of them must be there."""
    if "$ref" in part:
        part = definitions[part["$ref"].rsplit("/", 1)[1]]
    if "anyOf" in part:
        (given,) = [one for one in part["anyOf"] if one != {"type": "null"}]
        part = {**given, "type": [given["type"], "null"]}
    kinds = part.get("type", "string")  # an enum of texts says no type
    yield f"{path}:type", sorted([kinds] if isinstance(kinds, str) else kinds)
    yield from ((f"{path}:{word}", part[word]) for word in WORDS if word in part)
    if "pattern" in part:
        yield f"{path}:pattern", part["pattern"].replace(r"\Z", "$")
    if "properties" in part:
        yield f"{path}:required", sorted(part["required"])
        for name, field in part["properties"].items():
            yield from limits(field, definitions, f"{path}.{name}")
    if "items" in part:
        yield from limits(part["items"], definitions, f"{path}[]")
