"""What the contracts say, as rows for people and programs. Pure."""

from __future__ import annotations

from datetime import date
from typing import Any

from infra.contracts.accepts import types
from infra.contracts.contract import Contracts, Deprecation
from infra.contracts.fields import fields_of


def listed(contracts: Contracts, today: date) -> list[dict[str, Any]]:
    """A row for each version of each event on each topic."""
    return [
        {
            "topic": topic.name,
            "domain": topic.domain,
            "owner": topic.owner,
            "event": kind,
            "version": version,
            "state": state(topic.deprecations.get((kind, version)), today),
        }
        for topic in contracts.topics.values()
        for kind, version in topic.events
    ]


def state(gone: Deprecation | None, today: date) -> str:
    """Whether a version may be sent, and until when."""
    if gone is None:
        return "current"
    what = "ended" if today > gone.ends else "deprecated, ends"
    return f"{what} {gone.ends}; {gone.replacement[0]} {gone.replacement[1]} follows; ask {gone.owner}"


def shown(contracts: Contracts, name: str, today: date) -> dict[str, Any]:
    """All that is agreed of a topic."""
    topic = contracts.topics[name]
    return {
        "topic": name,
        "description": topic.description,
        "domain": topic.domain,
        "owner": topic.owner,
        "key": topic.key.field or "that of its source",
        "partitions": topic.partitions,
        "producers": list(topic.producers),
        "consumers": list(topic.consumers),
        "dead letters": topic.dead_letter_topic or "none",
        "table": topic.table or "none",
        "events": [
            {
                "event": kind,
                "version": version,
                "state": state(topic.deprecations.get((kind, version)), today),
                "fields": [
                    {
                        "path": field.path,
                        "type": " or ".join(sorted(types(field.schema))),
                        "required": field.required,
                        "unit": field.schema.get("unit"),
                        "description": field.schema.get("description"),
                    }
                    for field in fields_of(contracts.schemas[kind, version]).values()
                    if field.path.startswith("data.")
                ],
            }
            for kind, version in topic.events
        ],
    }
