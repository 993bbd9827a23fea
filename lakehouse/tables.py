"""Every Iceberg table, declared once: columns with meaning and unit, layout, owner, retention. Those of scores by a pattern of names."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType

from lakehouse.errors import LakehouseError


@dataclass(frozen=True)
class Column:
    """A nullable column. `type`: an Iceberg primitive, `list<primitive>` or `map<string,primitive>`."""

    name: str
    type: str
    doc: str
    unit: str

    @property
    def comment(self) -> str:
        """What the table's own metadata says of the column."""
        return f"{self.doc} [{self.unit}]"


@dataclass(frozen=True)
class Table:
    """One table. `partition`: (column, transform) pairs; `sort`: columns in which readers may want the rows."""

    name: str
    doc: str
    owner: str
    retention: str
    columns: tuple[Column, ...]
    partition: tuple[tuple[str, str], ...] = ()
    sort: tuple[str, ...] = ()
    properties: MappingProxyType[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def all_properties(self) -> dict[str, str]:
        """Iceberg's table properties: the shared ones, the table's own, and who answers for it."""
        return {
            **_SHARED,
            **self.properties,
            "comment": self.doc,
            "streamhouse.owner": self.owner,
            "streamhouse.retention": self.retention,
        }


_SHARED = {
    "format-version": "2",
    "write.parquet.compression-codec": "zstd",
    "write.distribution-mode": "none",  # no shuffle between a topic's partition and its rows
    # two jobs and a reader share one catalog: a lost race is tried again, for minutes rather than for ever
    "commit.retry.num-retries": "20",
    "commit.retry.min-wait-ms": "50",
    "commit.retry.max-wait-ms": "2000",
    "commit.retry.total-timeout-ms": "120000",
    # one metadata file per commit would otherwise stay for ever
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}
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

_POSITION = (
    Column("topic_partition", "int", "Partition of the topic in which the record lies.", "partition"),
    Column("topic_offset", "long", "Offset of the record in its partition.", "offset"),
)
_RECORD = (
    *_POSITION,
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
_LOG_ORDER = ("topic_partition", "topic_offset")


def _archive(name: str, doc: str, owner: str, *typed: Column) -> Table:
    return Table(name, doc, owner, "unlimited", (*_RECORD, *typed), _BY_PARTITION_AND_DAY, _LOG_ORDER, properties=_MESSAGES)


USER_ACTIONS = _archive(
    "user_actions",
    "Each committed record of topic user-actions.",
    "web-platform",
    Column("user_id", "string", "Who acted.", "identifier"),
    Column("session_id", "string", "The visit in which it happened.", "identifier"),
    Column("action", "string", "What was done, for example product_view.", "name"),
    Column("platform", "string", "Device class of this visit.", "name"),
    Column("lifecycle", "string", "What the shop called the user at this visit.", "name"),
)

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

USER_ACTIONS_DLQ = _archive(
    "user_actions_dlq",
    "Each committed record of topic user-actions-dlq.",
    "web-platform",
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

_COUNTED = {
    "actions": "Actions",
    "product_views": "Product views",
    "cart_adds": "Additions to the cart",
    "errors": "Error pages, payment errors and checkout bugs",
    "purchases": "Purchases",
}
_WINDOWS = {"10m": "10 minutes", "1h": "hour", "24h": "24 hours", "7d": "7 days"}

FEATURE_LOG = Table(
    "feature_log",
    "The features of each accepted action as they were known just before it; written by rebuild_features.",
    "data-science",
    "unlimited; made again from user_actions",
    (
        *_POSITION,
        Column("user_id", "string", "Who acted.", "identifier"),
        Column("event_time", "timestamptz", "When the user acted.", "UTC"),
        Column(
            "created",
            "timestamptz",
            "The log's clock when the row became known: the latest event time in its partition up to and with this action.",
            "UTC",
        ),
        Column("known_offset", "long", "Offset of the user's previous action in log order; null if none.", "offset"),
        Column("known_time", "timestamptz", "The user's latest event time before the action; null if none.", "UTC"),
        Column("late", "boolean", "Whether the action is older than one that came before it.", "yes or no"),
        *(
            Column(f"{counted}_{window}", "long", f"{what} in the last {length}.", "count")
            for window, length in _WINDOWS.items()
            for counted, what in _COUNTED.items()
        ),
        *(Column(f"visits_{w}", "long", f"Visits in the last {_WINDOWS[w]}.", "count") for w in ("24h", "7d")),
        Column("seconds_since_action", "double", "Since the previous action; null if none.", "seconds"),
        Column("seconds_since_purchase", "double", "Since the previous purchase; null if none.", "seconds"),
    ),
    (("topic_partition", "identity"),),  # written by partition, read by ranges of offsets
    _LOG_ORDER,
)

USER_PROFILES = Table(
    "user_profiles",
    "What the shop knew of a user, and from when; Feast materializes it into view user_profile.",
    "marketing",
    "unlimited",
    (
        Column("user_id", "string", "The user.", "identifier"),
        Column("channel", "string", "Through which channel the user came.", "name"),
        Column("cohort", "string", "Month of the user's first visit.", "YYYY-MM"),
        Column("known_from", "timestamptz", "From when this row was known; Feast's event timestamp.", "UTC"),
        Column("created", "timestamptz", "When the row was written; the later of two with equal known_from wins.", "UTC"),
    ),
    sort=("user_id", "known_from"),
)

RECEIPTS = Table(
    "receipts",
    "What each snapshot of an archive table added and removed, a row per topic partition; outlives the snapshots.",
    "data-platform",
    "unlimited",
    (
        Column("table_name", "string", "The archive table.", "name"),
        Column("snapshot_id", "long", "The snapshot.", "identifier"),
        Column("parent_id", "long", "The snapshot before it; null for the first, and where operation is expired.", "identifier"),
        Column("sequence_number", "long", "Which commit to the table it was, from 1.", "count"),
        Column("commit_time", "timestamptz", "When it was committed; null where operation is expired.", "UTC"),
        Column("operation", "string", "append, replace, or what else Iceberg calls it; expired: known from live files alone.", "name"),
        Column("job_id", "string", "The Flink job that committed it; null for another writer, or unknown.", "identifier"),
        Column("checkpoint_id", "long", "The job's checkpoint whose records it holds; null as job_id.", "checkpoint number"),
        Column("topic_partition", "int", "Partition of the topic; -1 in the one row of a snapshot without files.", "partition"),
        Column("first_offset", "long", "Lowest offset in the files that it added; null if none.", "offset"),
        Column("last_offset", "long", "Highest offset in the files that it added; null if none.", "offset"),
        Column("records", "long", "Records in the files that it added.", "count"),
        Column("files", "int", "Data files that it added.", "count"),
        Column("removed_first", "long", "Lowest offset in the files that it removed; null if none.", "offset"),
        Column("removed_last", "long", "Highest offset in the files that it removed; null if none.", "offset"),
        Column("removed_records", "long", "Records in the files that it removed.", "count"),
        Column("removed_files", "int", "Data files that it removed.", "count"),
    ),
    sort=("table_name", "sequence_number", "topic_partition"),
    # an append holds for the state that it was made from: a lost race is decided anew, never repeated blindly
    properties=MappingProxyType({"commit.retry.num-retries": "0"}),
)

ARCHIVES = {t.name: t for t in (USER_ACTIONS, PREDICTIONS, USER_ACTIONS_DLQ, USER_ACTIONS_REPLAYS)}
"""The tables of topics; each of their snapshots has a receipt."""

TABLES = ARCHIVES | {t.name: t for t in (FEATURE_LOG, USER_PROFILES, RECEIPTS)}


_SCORES = re.compile(r"scores_([a-z][a-z0-9_]{0,63})_v([1-9][0-9]{0,8})\Z")


def scores_table(model: str, version: str) -> Table:
    """What one version of a model gives for each accepted action of the whole log: a table of its own, which `backfill` makes and fills.

    Raises:
        LakehouseError: the model's name or version has another form, or the table's name is taken.

    """
    name = f"scores_{model}_v{version}"
    match = _SCORES.match(name)
    if match is None or match.groups() != (model, version) or name in TABLES:
        message = (
            f"table `{name}`: expected a model's name of small letters, digits and _, a whole version number, and a name that no other"
        )
        message += " table has; publish the model under another name"
        raise LakehouseError(message)
    return Table(
        name,
        f"What model {model} version {version} gives for each accepted action of topic user-actions; written by backfill.",
        "data-science",
        "unlimited; made again from user_actions",
        (
            *_POSITION,
            Column("event_id", "string", "Identifies the action.", "UUID"),
            Column("user_id", "string", "Who acted.", "identifier"),
            Column("event_time", "timestamptz", "When the user acted.", "UTC"),
            Column("score", "float", "The model's output.", "probability"),
            Column("decision", "boolean", "Whether the score reaches the model's threshold.", "yes or no"),
            Column("features", "list<float>", "The values scored, in model input order.", "as the model's manifest says"),
            Column("flags", "list<string>", "What was scored with defaults or out of order.", "names"),
        ),
        (("topic_partition", "identity"),),
        _LOG_ORDER,
        # as for receipts: what is added holds for the state that it was made from
        properties=MappingProxyType(
            {"commit.retry.num-retries": "0", "streamhouse.model-name": model, "streamhouse.model-version": version}
        ),
    )


def is_scores_table(name: str) -> bool:
    """Whether a name is that of a scores table, be it there or not."""
    return name not in TABLES and _SCORES.match(name) is not None


def declared(name: str) -> Table:
    """The declaration of a table.

    Raises:
        LakehouseError: no such table.

    """
    if name in TABLES:
        return TABLES[name]
    if match := _SCORES.match(name):
        return scores_table(match[1], match[2])
    known = ", ".join(sorted(TABLES))
    message = f"table `{name}`: expected one of {known}, or scores_MODEL_vVERSION; correct the name, or declare it in lakehouse/tables.py"
    raise LakehouseError(message)
