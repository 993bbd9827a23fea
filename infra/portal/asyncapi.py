"""The catalogue as an AsyncAPI 3.0 document: channels, messages with their schemas and examples, who sends and who receives. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from infra.portal.catalogue import Catalogue, EventVersion, Program, Topic

VERSION = "3.0.0"
_BINDING = "0.5.0"


def asyncapi(catalogue: Catalogue, broker: str, security_protocol: str = "PLAINTEXT") -> dict[str, Any]:
    """The document. `broker`: host:port; a deprecated version is marked in its title, its schema and `x-deprecated`."""
    return {
        "asyncapi": VERSION,
        "info": {
            "title": "Streamhouse events",
            "version": "1.0.0",
            "description": "Every topic, event type and version, and who sends and receives them; made from the contracts.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "broker": {
                "host": broker.split(",")[0],
                "protocol": "kafka" if security_protocol in ("PLAINTEXT", "SASL_PLAINTEXT") else "kafka-secure",
                "description": "The Kafka broker.",
            }
        },
        "channels": {topic.name: _channel(topic) for topic in catalogue.topics},
        "operations": dict(_operations(catalogue)),
        "components": {
            "messages": {_message_key(topic, one): _message(topic, one) for topic in catalogue.topics for one in topic.versions},
            "schemas": {_name(one): _payload(one) for topic in catalogue.topics for one in topic.versions},
        },
    }


def _channel(topic: Topic) -> dict[str, Any]:
    return {
        "address": topic.name,
        "title": topic.name,
        "description": topic.description,
        "servers": [{"$ref": "#/servers/broker"}],
        "messages": {_name(one): {"$ref": f"#/components/messages/{_message_key(topic, one)}"} for one in topic.versions},
        "tags": [{"name": topic.domain}, {"name": f"owner:{topic.owner}"}],
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {"max.message.bytes": topic.max_message_bytes},
                "bindingVersion": _BINDING,
            }
        },
        "x-kept": topic.kept,
        **({"x-dead-letter-topic": topic.dead_letter_topic} if topic.dead_letter_topic else {}),
        **({"x-table": topic.table} if topic.table else {}),
    }


def _operations(catalogue: Catalogue) -> Iterator[tuple[str, dict[str, Any]]]:
    for program in catalogue.programs:
        for action, topics in (("send", program.writes), ("receive", program.reads)):
            for name in topics:
                yield f"{_id(program.name)}-{action}-{name}", _operation(program, action, name)


def _operation(program: Program, action: str, topic: str) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{topic}"},
        "title": f"{program.name} {action}s on {topic}",
        **({"summary": program.description} if program.description else {}),
        "tags": [{"name": program.kind}],
    }


def _message(topic: Topic, one: EventVersion) -> dict[str, Any]:
    examples = [e for e in topic.examples if (e.event_type, e.version) == (one.event_type, one.version)]
    ending = one.deprecated
    return {
        "name": one.event_type,
        "title": f"{one.event_type} {one.version}" + (f" (deprecated, ends {ending.ends})" if ending else ""),
        "summary": one.description,
        "contentType": "application/json",
        "payload": {"$ref": f"#/components/schemas/{_name(one)}"},
        "bindings": {"kafka": {"key": {"type": "string", "description": topic.key}, "bindingVersion": _BINDING}},
        **({"examples": [{"name": e.name, "payload": e.value} for e in examples]} if examples else {}),
        **({"x-deprecated": {"ends": ending.ends, "owner": ending.owner, "replacement": ending.replacement}} if ending else {}),
        **({"x-follows-version-before": list(one.follows)} if one.follows else {}),
    }


def _payload(one: EventVersion) -> dict[str, Any]:
    schema = _with_units(one.schema)
    schema.pop("$schema", None)  # AsyncAPI says itself which dialect its schemas are of
    return {**schema, **({"deprecated": True} if one.deprecated else {})}


def _with_units(schema: Any) -> Any:  # noqa: ANN401 - any part of a JSON Schema
    """`unit` is ours: extensions begin with `x-`. A field that is called so stays what it is."""
    if isinstance(schema, list):
        return [_with_units(part) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    made = {}
    for key, value in schema.items():
        if key == "properties":
            made[key] = {name: _with_units(part) for name, part in value.items()}
        elif key in ("const", "enum", "examples", "default"):
            made[key] = value
        else:
            made["x-unit" if key == "unit" else key] = _with_units(value)
    return made


def _message_key(topic: Topic, one: EventVersion) -> str:
    return f"{topic.name}.{_name(one)}"


def _name(one: EventVersion) -> str:
    return f"{one.event_type}.v{one.version}"


def _id(name: str) -> str:
    """As a key of AsyncAPI may be: letters, digits, `.`, `-` and `_`."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")
