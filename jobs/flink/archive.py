"""Topics -> the Iceberg tables of their names, one row per committed record, exactly once: what all jobs that archive have in common.

One source, one Python step, a table per topic. The sink compacts and expires by itself, so files and snapshots stay bounded while the
job runs. It checkpoints slower than the scorer: each checkpoint is a snapshot.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyflink.table import StatementSet, TableEnvironment

from infra.config import Settings
from infra.contracts.contract import Topic
from infra.contracts.load import load_contracts
from jobs.archive_columns import ARCHIVED, COLUMNS, ENVELOPE, flink_type
from jobs.flink import tables
from jobs.flink.archive_udf import PASSED, archive_records, given, typed_columns
from jobs.flink.sql import identifier, literal
from lakehouse.catalog import column_types


def maintenance(settings: Settings) -> dict[str, str]:
    """The sink's own upkeep: small files of a day are merged, and old snapshots leave, while the job runs."""
    archive = settings.archive_topics
    every = str(archive.maintain_every_commits)
    return {
        # the commits alone say when: by default no upkeep starts within a minute of the last, and one that waits looks again after half
        "flink-maintenance.rate-limit-seconds": "1",
        "flink-maintenance.lock-check-delay-seconds": "5",
        "flink-maintenance.rewrite.enabled": "true",
        "flink-maintenance.rewrite.schedule.commit-count": every,
        "flink-maintenance.expire-snapshots.enabled": "true",
        "flink-maintenance.expire-snapshots.schedule.commit-count": every,
        "flink-maintenance.expire-snapshots.retain-last": str(archive.snapshots),
        "flink-maintenance.expire-snapshots.max-snapshot-age-seconds": str(archive.snapshot_seconds),
    }


def archive(table_environment: TableEnvironment, settings: Settings, name: str) -> StatementSet:
    """The job `name` as a statement set."""
    topics = [load_contracts().topics[topic] for topic in ARCHIVED[name]]
    table_environment.execute_sql(tables.iceberg_catalog(settings))
    kinds = _kinds(settings, topics)
    table_environment.create_temporary_function("archive_records", archive_records(kinds))

    # topic, position, key, value, headers as two arrays, Kafka's time -> the same and the typed columns of every topic
    # one source over all topics: a source each would be a Python worker each
    table_environment.execute_sql(tables.source(settings, "records", ARCHIVED[name], group=name))
    columns = [*PASSED, "event_ms", *typed_columns(kinds)]
    table_environment.execute_sql(f"""
        CREATE TEMPORARY VIEW archived AS
        SELECT {", ".join(f"r.{identifier(name)} AS {identifier(name)}" for name in columns)}
        FROM (SELECT archive_records({", ".join(PASSED)}) AS r FROM (
            SELECT topic, topic_partition, topic_offset, record_key, record_value,
                MAP_KEYS(headers) AS header_names, MAP_VALUES(headers) AS header_values, {tables.KAFKA_MILLISECONDS} AS kafka_ms
            FROM records
        ))""")

    statements = table_environment.create_statement_set()
    for topic in topics:
        typed = [*ENVELOPE, *kinds[topic.name]]
        target = ["topic_partition", "topic_offset", "key", "value", "headers", "kafka_time", "event_time", *typed]
        values = [
            "topic_partition",
            "topic_offset",
            "record_key",
            "record_value",
            "MAP_FROM_ARRAYS(header_names, header_values)",
        ]
        values += [
            "TO_TIMESTAMP_LTZ(kafka_ms, 3)",
            "TO_TIMESTAMP_LTZ(event_ms, 3)",
            *(identifier(name) for name in ENVELOPE),
            *(_value(given(kinds, topic.name, column), kind) for column, kind in kinds[topic.name].items()),
        ]
        hints = ", ".join(f"{literal(key)} = {literal(value)}" for key, value in maintenance(settings).items())
        statements.add_insert_sql(
            f"INSERT INTO {tables.lake_table(settings, topic.archive)} /*+ OPTIONS({hints}) */"
            f" ({', '.join(identifier(name) for name in target)})"
            f" SELECT {', '.join(values)} FROM archived WHERE topic = {literal(topic.name)}"
        )
    return statements


def _kinds(settings: Settings, topics: Sequence[Topic]) -> dict[str, dict[str, str]]:
    """The typed columns that each table has by now: what a contract gained is written from the start on that follows its `apply`."""
    kinds: dict[str, dict[str, str]] = {}
    for topic in topics:
        held = column_types(settings, topic.archive)
        kinds[topic.name] = {name: flink_type(held[name]) for name in COLUMNS[topic.name] if name in held}
    return kinds


def _value(name: str, kind: str) -> str:
    return f"TO_TIMESTAMP_LTZ({identifier(name)}, 3)" if kind.startswith("TIMESTAMP") else identifier(name)


def configuration(parallelism: int, checkpoint_interval: str) -> dict[str, str]:
    """Flink's settings for such a job."""
    return {
        "parallelism.default": str(parallelism),
        "execution.checkpointing.interval": checkpoint_interval,
        # when all jobs lost their TaskManager, scoring has the machine to itself first
        "restart-strategy.exponential-delay.initial-backoff": "10 s",
        "restart-strategy.exponential-delay.max-backoff": "20 s",
        "python.fn-execution.bundle.time": "20",  # also what bounds a bundle's bytes where every value is a megabyte
        "python.fn-execution.bundle.size": "5000",
        "python.fn-execution.arrow.batch.size": "2000",
        "table.exec.iceberg.use-v2-sink": "true",
    }
