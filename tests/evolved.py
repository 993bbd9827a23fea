"""The contract of user-actions, evolved: as values, for tests of what follows from it."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from infra.contracts.actions import EVENT, TOPIC
from infra.contracts.contract import Contracts, Deprecation, EventSchema, EventTime, Upcast
from infra.contracts.load import load_contracts

TEXT = {"type": ["string", "null"], "maxLength": 64, "description": "A text.", "unit": "text"}


def with_field(contracts: Contracts, name: str, schema: Mapping[str, Any] = TEXT, version: int = 1, *, required: bool = False) -> Contracts:
    """With one field more in the data of a version."""
    document = copy.deepcopy(dict(contracts.schemas[EVENT, version].document))
    data = document["properties"]["data"]
    data["properties"][name] = dict(schema)
    data["required"] += [name] * required
    return replace(contracts, schemas=dict(contracts.schemas) | {(EVENT, version): _schema(version, document)})


def with_version(
    contracts: Contracts, renamed: Mapping[str, str], added: Mapping[str, Mapping[str, Any]], filled: Mapping[str, Any]
) -> Contracts:
    """With one version more: some fields have other names, and some are new and required."""
    topic = contracts.topics[TOPIC]
    old = topic.versions(EVENT)[-1]
    document = copy.deepcopy(dict(contracts.schemas[EVENT, old].document))
    document["properties"]["version"]["const"] = old + 1
    data = document["properties"]["data"]
    data["properties"] = {renamed.get(name, name): part for name, part in data["properties"].items()} | {
        k: dict(v) for k, v in added.items()
    }
    data["required"] = [renamed.get(name, name) for name in data["required"]] + list(added)
    changed = replace(
        topic,
        events=(*topic.events, (EVENT, old + 1)),
        upcasts=dict(topic.upcasts) | {(EVENT, old + 1): Upcast(renamed, filled)},
        deprecations=dict(topic.deprecations) | {(EVENT, old): Deprecation(date(2030 + old, 1, 31), "web-platform", (EVENT, old + 1))},
    )
    schemas = dict(contracts.schemas) | {(EVENT, old + 1): _schema(old + 1, document)}
    return replace(contracts, topics=dict(contracts.topics) | {TOPIC: changed}, schemas=schemas)


def with_window(contracts: Contracts, ahead_ms: int) -> Contracts:
    """With another window of event times."""
    topic = contracts.topics[TOPIC]
    assert topic.event_time is not None
    changed = replace(topic, event_time=EventTime(topic.event_time.not_before_ms, ahead_ms))
    return replace(contracts, topics=dict(contracts.topics) | {TOPIC: changed})


def action(number: int = 1, version: int = 1, user: str = "user_0001", **data: Any) -> bytes:
    """The bytes of an action; `data` adds to its fields, replaces them, or with ... for a value leaves one out."""
    fields = {"userId": user, "sessionId": "sess_000001", "action": "product_view", "platform": "desktop"} | data
    event = {
        "eventType": EVENT,
        "eventId": f"7f9c2b1e-3d4a-4c5b-8e6f-{number:012d}",
        "timestamp": "2024-03-13T10:22:12.000Z",
        "version": version,
        "source": "test",
        "correlationId": "sess_000001",
        "data": {name: value for name, value in fields.items() if value is not ...},
    }
    return json.dumps(event).encode()


def own() -> Contracts:
    """The project's own."""
    return load_contracts()


def _schema(version: int, document: Mapping[str, Any]) -> EventSchema:
    return EventSchema(EVENT, version, Path(f"user-action.v{version}.schema.json"), document)
