"""The archive tables, one per topic: where the record lies, its bytes as they were sent, and typed columns beside them."""

from __future__ import annotations

import json
from dataclasses import replace
from types import MappingProxyType

from infra.contracts.columns import field_columns
from infra.contracts.contract import Contracts
from infra.contracts.load import load_contracts
from lakehouse.table import FIELDS, Column, Table

_MESSAGES = MappingProxyType(
    {
        # bounds of message bytes only make metadata large
        **{f"write.metadata.metrics.column.{name}": "none" for name in ("key", "value", "headers")},
        # a writer looks at the size of its page after so many rows, 100 by default: a hundred megabytes where a value is one
        "write.parquet.row-group-check-min-record-count": "4",
        # a writer begins each column with a thousandth of a page, and a backlog over half a year opens 1,500 writers of 20 columns
        "write.parquet.page-size-bytes": str(128 << 10),
        "write.parquet.row-group-size-bytes": str(32 << 20),
    }
)

POSITION = (
    Column("topic_partition", "int", "Partition of the topic in which the record lies.", "partition"),
    Column("topic_offset", "long", "Offset of the record in its partition.", "offset"),
)
_RECORD = (
    *POSITION,
    Column("key", "binary", "The record's key as it was sent; null when it had none.", "bytes"),
    Column("value", "binary", "The record's value as it was sent; null for a tombstone.", "bytes"),
    Column("headers", "map<string,binary>", "The record's headers.", "bytes"),
    Column("kafka_time", "timestamptz", "When the broker appended the record.", "UTC"),
    Column("event_time", "timestamptz", "The event's own time; the broker's where it has none.", "UTC"),
    Column("event_type", "string", "What happened; null where the value is no event.", "name"),
    Column("event_id", "string", "Identifies the event.", "UUID"),
    Column("event_version", "int", "Version of the event's schema.", "version number"),
    Column("source", "string", "What emitted the event.", "text"),
    Column("correlation_id", "string", "Ties together the events that one cause set off.", "text"),
)
_BY_PARTITION_AND_DAY = (("topic_partition", "identity"), ("event_time", "day"))
LOG_ORDER = ("topic_partition", "topic_offset")


def _archive(name: str, doc: str, owner: str, *typed: Column) -> Table:
    return Table(name, doc, owner, "unlimited", (*_RECORD, *typed), _BY_PARTITION_AND_DAY, LOG_ORDER, properties=_MESSAGES)


def of_actions(contracts: Contracts) -> Table:
    """The archive of user-actions, whose columns are the fields that its contract names.

    A property tells how each is read: readers need no contract file for it, and `migrate` sees by it that an archiver which runs reads
    one in an older way.
    """
    topic = contracts.topics["user-actions"]
    columns = tuple(Column(f.name, f.type, f.doc, f.unit, f) for f in field_columns(contracts.schemas, topic))
    table = _archive("user_actions", "Each committed record of topic user-actions.", "web-platform", *columns)
    read = json.dumps({c.name: c.field.to_json() for c in columns if c.field})
    return replace(table, properties=MappingProxyType(dict(table.properties) | {FIELDS: read}))


USER_ACTIONS = of_actions(load_contracts())

PREDICTIONS = _archive(
    "predictions",
    "Each committed record of topic predictions.",
    "data-science",
    Column("action_id", "string", "Event id of the action that it answers.", "UUID"),
    Column("action_partition", "int", "Partition of that action in user-actions.", "partition"),
    Column("action_offset", "long", "Offset of that action in its partition.", "offset"),
    Column("user_id", "string", "Who acted.", "identifier"),
    Column("score", "float", "The model's output.", "probability"),
    Column("decision", "boolean", "Whether the score reaches the model's threshold.", "yes or no"),
    Column("model_name", "string", "Name of the published model.", "name"),
    Column("model_version", "string", "Its published version.", "version number"),
    Column("model_sha256", "string", "Hash of the model file.", "hexadecimal"),
    Column("features", "list<float>", "The values scored, in model input order.", "as the model's manifest says"),
    Column("flags", "list<string>", "What was scored with defaults or out of order.", "names"),
)

_LETTER = (
    Column("step", "string", "The step that refused the record.", "name"),
    Column("reason", "string", "A code to count by.", "name"),
    Column("message", "string", "A sentence for people.", "text"),
    Column("retry_count", "int", "How often it was sent again.", "times"),
    Column("source_topic", "string", "The topic it was read from.", "topic"),
    Column("source_partition", "int", "The partition it was read from.", "partition"),
    Column("source_offset", "long", "Its offset there.", "offset"),
    Column("original_partition", "int", "Of a replay: the partition of the first record; null if none.", "partition"),
    Column("original_offset", "long", "Of a replay: its offset there; null if none.", "offset"),
)
USER_ACTIONS_DLQ = _archive("user_actions_dlq", "Each committed record of topic user-actions-dlq.", "web-platform", *_LETTER)

USER_ACTIONS_REPLAYS = _archive(
    "user_actions_replays",
    "Each committed record of topic user-actions-replays.",
    "web-platform",
    Column("original_partition", "int", "Partition of user-actions in which the first record lies.", "partition"),
    Column("original_offset", "long", "Its offset there.", "offset"),
    Column("letter_partition", "int", "Partition of the refused record that was sent again or quarantined.", "partition"),
    Column("letter_offset", "long", "Its offset there.", "offset"),
    Column("replay_partition", "int", "Partition of the record that was sent; null for a quarantine.", "partition"),
    Column("replay_offset", "long", "Its offset there; null for a quarantine.", "offset"),
    Column("retry_count", "int", "The how-manieth replay it is; for a quarantine, how many there were.", "times"),
    Column("edited", "boolean", "Whether its value differs from the refused one's; null for a quarantine.", "yes or no"),
)

SCHEMA_IDS = _archive(
    "schema_ids",
    "Each committed record of topic schema-ids.",
    "web-platform",
    Column("source_topic", "string", "Topic of the framed records that the decision is about.", "topic"),
    Column("source_partition", "int", "Partition of it.", "partition"),
    Column("from_offset", "long", "The first record for which the id is known; null where ids are unknown.", "offset"),
    Column("until_offset", "long", "The last record whose id is unknown unless it was known before; null where one is known.", "offset"),
    Column("schema_id", "long", "The id that is known; null where ids are unknown.", "schema id of the registry"),
    Column("schema_type", "string", "AVRO, JSON, or another, whose records cannot be read; null where ids are unknown.", "name"),
)

_EVENT = (
    Column("aggregate_id", "string", "What the event is about, by its record's key, for example an order's id.", "identifier"),
    Column("aggregate_version", "long", "The how-manieth event of its aggregate it is, from 1; null without that header.", "count"),
    Column("causation_id", "string", "Event id of the command that it follows from; null without that header.", "UUID"),
    Column("data", "string", "The event's own fields, as they stand in the value.", "JSON"),
)


def _shops(name: str, owner: str, *typed: Column) -> Table:
    """By month: a table takes an open file for each month or day that it is to catch up with, and here are ten tables in one job."""
    doc = f"Each committed record of topic {name.replace('_', '-')}."
    return replace(_archive(name, doc, owner, *typed), partition=(("topic_partition", "identity"), ("event_time", "month")))


SHOP = (
    _shops("orders", "order-team", *_EVENT),
    _shops("payments", "payments-team", *_EVENT),
    _shops("inventory", "inventory-team", *_EVENT),
    _shops("shipping", "shipping-team", *_EVENT),
    _shops("accounts", "bank-team", *_EVENT),
    _shops("order_commands_dlq", "order-team", *_LETTER),
    _shops("payment_commands_dlq", "payments-team", *_LETTER),
    _shops("inventory_commands_dlq", "inventory-team", *_LETTER),
    _shops("shipping_commands_dlq", "shipping-team", *_LETTER),
    _shops("account_commands_dlq", "bank-team", *_LETTER),
)
"""The events of the shop and the bank, and what their services could not handle."""

ARCHIVES = {t.name: t for t in (USER_ACTIONS, PREDICTIONS, USER_ACTIONS_DLQ, USER_ACTIONS_REPLAYS, SCHEMA_IDS, *SHOP)}
"""The tables of topics; each of their snapshots has a receipt."""
