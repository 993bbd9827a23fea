"""Which job archives which topics, and the typed columns of each: beside the bytes, in the table that has the topic's name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from infra.contracts.columns import field_columns
from infra.contracts.load import load_contracts

EVENT_TOPICS = ("orders", "payments", "inventory", "shipping", "accounts")
LETTER_TOPICS = tuple(f"{service}-commands-dlq" for service in ("order", "payment", "inventory", "shipping", "account"))
ARCHIVED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "archive_topics": ("user-actions", "predictions", "user-actions-dlq", "user-actions-replays", "schema-ids"),
        "archive_shop": (*EVENT_TOPICS, *LETTER_TOPICS),
    }
)
"""The topics of each job that archives."""

_FLINK = {
    "string": "STRING",
    "int": "INT",
    "long": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "boolean": "BOOLEAN",
    "timestamptz": "TIMESTAMP_LTZ(3)",
}


def flink_type(iceberg: str) -> str:
    """The type of a column in Flink's words."""
    return f"ARRAY<{_FLINK[iceberg[5:-1]]}>" if iceberg.startswith("list<") else _FLINK[iceberg]


FIELDS = field_columns(load_contracts().schemas, load_contracts().topics["user-actions"])
"""The typed columns of user-actions: the fields that its contract names."""
ENVELOPE = {
    "event_type": "STRING",
    "event_id": "STRING",
    "event_version": "INT",
    "source": "STRING",
    "correlation_id": "STRING",
}
_EVENT = {
    "aggregate_id": "STRING",
    "aggregate_version": "BIGINT",
    "causation_id": "STRING",
    "data": "STRING",
}
_LETTER = {
    "step": "STRING",
    "reason": "STRING",
    "message": "STRING",
    "retry_count": "INT",
    "source_topic": "STRING",
    "source_partition": "INT",
    "source_offset": "BIGINT",
    "original_partition": "INT",
    "original_offset": "BIGINT",
}
COLUMNS: dict[str, dict[str, str]] = {
    "user-actions": {column.name: flink_type(column.type) for column in FIELDS},
    "predictions": {
        "action_id": "STRING",
        "action_partition": "INT",
        "action_offset": "BIGINT",
        "user_id": "STRING",
        "score": "FLOAT",
        "decision": "BOOLEAN",
        "model_name": "STRING",
        "model_version": "STRING",
        "model_sha256": "STRING",
        "features": "ARRAY<FLOAT>",
        "flags": "ARRAY<STRING>",
    },
    "user-actions-dlq": _LETTER,
    "user-actions-replays": {
        "original_partition": "INT",
        "original_offset": "BIGINT",
        "letter_partition": "INT",
        "letter_offset": "BIGINT",
        "replay_partition": "INT",
        "replay_offset": "BIGINT",
        "retry_count": "INT",
        "edited": "BOOLEAN",
    },
    "schema-ids": {
        "source_topic": "STRING",
        "source_partition": "INT",
        "from_offset": "BIGINT",
        "until_offset": "BIGINT",
        "schema_id": "BIGINT",
        "schema_type": "STRING",
    },
    **dict.fromkeys(EVENT_TOPICS, _EVENT),
    **dict.fromkeys(LETTER_TOPICS, _LETTER),
}
"""Typed columns by topic, with their Flink types."""
