"""Archive -> the same fold -> the table feature_log, and an online store that was lost or never filled.

Reads the archived bytes of user_actions in log order through the very decode and fold of the scoring path, from an empty store, so
that what it makes equals what the stream made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import pyarrow as pa

from features.enrich import Store
from features.materialize import restore_profiles
from features.memory_store import MemoryStore
from features.online import OnlineStore
from infra.config import Settings
from infra.stack import flink_rest, health
from jobs.archived_log import TABLE
from jobs.contract_history import in_effect
from jobs.folded_archive import EVERYTHING, folded, offline_enricher
from jobs.followed_decisions import once_decided
from jobs.lineage.data import table
from jobs.lineage.run import running
from jobs.log_rows import log_rows
from jobs.scoring_parts import GROUP, SOURCE_TOPIC, Topic, rules
from lakehouse.append import overwrite
from lakehouse.read import log_ends, snapshot


def rebuild(settings: Settings) -> list[str]:
    """Write the table feature_log anew from the archive, and the online store's histories unless the stream owns them now.

    Answers sentences. The same archive makes the same table and the same features. A scorer that is started afterwards takes the
    store over from where the archive ended, and is told of offsets that it must answer again.

    Raises:
        LeaseLost: a scorer was started meanwhile and owns the store; the table is not written.

    """
    pinned = snapshot(settings, TABLE)
    if pinned is None:
        return ["the archive holds no actions yet; run `./streamhouse demo`"]
    with running(settings, "rebuild", [table(settings, TABLE, pinned)], [table(settings, "feature_log")]) as run:
        said = _rebuilt(settings, pinned)
        run.writes(table(settings, "feature_log", snapshot(settings, "feature_log")))
    return said


def _rebuilt(settings: Settings, pinned: int) -> list[str]:
    said = []
    if why := _store_is_not_ours(settings):
        said.append(f"the online store was left alone: {why}")
        parts = list(feature_log(settings, pinned, MemoryStore(), lambda _: EVERYTHING))
    else:
        committed = Topic(settings, SOURCE_TOPIC).committed
        store = OnlineStore(settings.redis.host, settings.redis.port)
        parts = list(feature_log(settings, pinned, store, lambda partition: committed(partition) or EVERYTHING))
        restore_profiles(settings)
        said.append("the online store holds every user's features as of the archive's end, and the profiles")
    rows = pa.concat_tables(parts)
    written = overwrite(settings, "feature_log", rows, f"rebuild-{pinned}-{_digest(rows)}")
    said.append(f"feature_log {'holds' if written else 'held already'} {rows.num_rows:,} rows, folded from {TABLE}")
    return said


def feature_log(settings: Settings, snapshot_id: int, store: Store, committed: Callable[[int], int]) -> Iterator[pa.Table]:
    """The feature rows of the whole archive as of one snapshot, a table per batch, partition by partition in log order.

    `store` is emptied first and holds the users' histories afterwards; `committed` as in Enricher.
    """
    schemas = once_decided(settings, SOURCE_TOPIC, Topic(settings, SOURCE_TOPIC).committed)
    source_rules, enrich = rules(in_effect(settings), schemas), offline_enricher(store, committed)
    for partition, (first, end) in sorted(log_ends(settings, TABLE, snapshot_id).items()):
        for part in folded(settings, snapshot_id, partition, first, end, enrich, source_rules):
            if part.accepted.events:
                yield log_rows(part)


def _store_is_not_ours(settings: Settings) -> str:
    """Why the online store is not to be written now; empty: it may be."""
    if not health.answers(settings, "redis"):
        return f"no Redis answers at {settings.redis.host}:{settings.redis.port}; run `./streamhouse up` and this command again"
    if not health.answers(settings, "jobmanager"):
        return f"whether {GROUP} runs cannot be known, since no JobManager answers at {settings.flink.rest_url}"
    if flink_rest.alive(settings, GROUP):
        return f"{GROUP} runs and keeps it fresh"
    return ""


def _digest(table: pa.Table) -> str:
    digest = hashlib.sha256()
    for batch in table.combine_chunks().to_batches():
        digest.update(batch.serialize())
    return digest.hexdigest()[:16]
