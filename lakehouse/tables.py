"""Every Iceberg table, declared once; those of topics in archives.py, those of scores by a pattern of names."""

from __future__ import annotations

import re
from types import MappingProxyType

from lakehouse.archives import ARCHIVES, LOG_ORDER, POSITION, USER_ACTIONS
from lakehouse.errors import LakehouseError
from lakehouse.table import Column, Table

__all__ = ["ARCHIVES", "CONTRACT_CHANGES", "FEATURE_LOG", "RECEIPTS", "TABLES", "USER_ACTIONS", "USER_PROFILES", "Column", "Table"]
__all__ += ["declared", "is_scores_table", "scores_table"]

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
        *POSITION,
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
    LOG_ORDER,
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

CONTRACT_CHANGES = Table(
    "contract_changes",
    "The contracts of user-actions, from when each holds: by what archived actions are decoded. `apply` writes it.",
    "data-platform",
    "unlimited",
    (
        Column("change_id", "string", "Which change it is; the event id of its announcement.", "UUID"),
        Column(
            "state", "string", "intended: about to be announced; announced: holds from effective_from on; withdrawn: it never was.", "name"
        ),
        Column("effective_from", "timestamptz", "From which broker time of a record on it holds; null: for all before, too.", "UTC"),
        Column("sha256", "string", "Hash of the document.", "hexadecimal"),
        Column("document", "string", "All that decoding needs: events, upcasts, deprecations, event-time window, schemas.", "JSON"),
        Column("written", "timestamptz", "When the row was written.", "UTC"),
    ),
    sort=("written",),
)

TABLES = ARCHIVES | {t.name: t for t in (FEATURE_LOG, USER_PROFILES, RECEIPTS, CONTRACT_CHANGES)}


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
            *POSITION,
            Column("event_id", "string", "Identifies the action.", "UUID"),
            Column("user_id", "string", "Who acted.", "identifier"),
            Column("event_time", "timestamptz", "When the user acted.", "UTC"),
            Column("score", "float", "The model's output.", "probability"),
            Column("decision", "boolean", "Whether the score reaches the model's threshold.", "yes or no"),
            Column("features", "list<float>", "The values scored, in model input order.", "as the model's manifest says"),
            Column("flags", "list<string>", "What was scored with defaults or out of order.", "names"),
        ),
        (("topic_partition", "identity"),),
        LOG_ORDER,
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
