"""Kafka topics and the Iceberg catalog as Flink tables."""

from __future__ import annotations

from collections.abc import Sequence

from infra.config import AT_LEAST_ONCE, EXACTLY_ONCE, Settings
from jobs.flink.sql import identifier, options

KAFKA_MILLISECONDS = "CAST(EXTRACT(EPOCH FROM kafka_time) AS BIGINT) * 1000 + CAST(EXTRACT(MILLISECOND FROM kafka_time) AS BIGINT)"
"""Kafka's time as a number: a TIMESTAMP_LTZ does not pass a vectorised UDF."""


def source(settings: Settings, name: str, topics: Sequence[str], group: str) -> str:
    """Topics as raw records, committed ones only, from the offsets that the group has: a start sets them (jobs.begin).

    An offset that the group lacks, or that retention has cut, is a fault of the job and never a silent jump.
    """
    connector = {
        "connector": "kafka",
        "topic": ";".join(topics),
        "properties.group.id": group,
        "properties.isolation.level": "read_committed",
        "properties.auto.offset.reset": "none",
        "properties.max.poll.records": "5000",  # by default 500, of the thousands that a request brings
        "scan.startup.mode": "group-offsets",
        "key.format": "raw",
        "key.fields": "record_key",
        "value.format": "raw",
        "value.fields-include": "EXCEPT_KEY",
        **_client(settings),
    }
    return f"""CREATE TEMPORARY TABLE {identifier(name)} (
  `record_key` BYTES,
  `record_value` BYTES,
  `topic_partition` INT METADATA FROM 'partition' VIRTUAL,
  `topic_offset` BIGINT METADATA FROM 'offset' VIRTUAL,
  `kafka_time` TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL,
  `topic` STRING NOT NULL METADATA VIRTUAL,
  `headers` MAP<STRING, BYTES> METADATA VIRTUAL
) WITH (
  {options(connector)}
)"""


def sink(settings: Settings, name: str, topic: str, max_message_bytes: int) -> str:
    """A topic that is written as score_events.delivery says.

    Exactly once: records become visible when the checkpoint that holds them completes. At least once: as they are appended; a checkpoint
    waits until all before it are, so none is lost, and after a crash those since the last one are appended again.
    """
    if settings.score_events.delivery == EXACTLY_ONCE:
        guarantee = {
            "sink.delivery-guarantee": EXACTLY_ONCE,
            "sink.transactional-id-prefix": transactional_prefix(topic),  # one per sink, the same after a restart
            "sink.transaction-naming-strategy": "pooling",
            "properties.transaction.timeout.ms": str(settings.score_events.transaction_timeout_seconds * 1000),
        }
    else:
        guarantee = {"sink.delivery-guarantee": AT_LEAST_ONCE}
    connector = {
        "connector": "kafka",
        "topic": topic,
        "key.format": "raw",
        "key.fields": "record_key",
        "value.format": "raw",
        "value.fields-include": "EXCEPT_KEY",
        **guarantee,
        "properties.max.request.size": str(2 * max_message_bytes),
        # a batch of answers comes within a few milliseconds: sent one by one, they took the broker 15 us of CPU each, and so 8
        "properties.linger.ms": str(settings.score_events.linger_milliseconds),
        "properties.batch.size": "262144",
        "properties.compression.type": "lz4",
        **_client(settings),
    }
    return f"""CREATE TEMPORARY TABLE {identifier(name)} (
  `record_key` BYTES,
  `record_value` BYTES
) WITH (
  {options(connector)}
)"""


def transactional_prefix(topic: str) -> str:
    """How the ids of a sink's transactions begin."""
    return f"streamhouse-{topic}"


def iceberg_catalog(settings: Settings) -> str:
    """The lake under the name that PyIceberg uses too: both key their rows by it. Its tables refuse what a zombie of the sink commits."""
    catalog = {"type": "iceberg", "catalog-impl": "streamhouse.FencingCatalog", "warehouse": settings.lake.warehouse}
    if settings.lake.rest_uri:
        catalog |= {
            "fenced-catalog-impl": "org.apache.iceberg.rest.RESTCatalog",
            "uri": settings.lake.rest_uri,
            "snapshot-loading-mode": "all",  # the fence compares with the snapshots of then
        }
    else:
        catalog |= {
            "fenced-catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog",
            "uri": f"jdbc:sqlite:{settings.lake.database}?journal_mode=WAL&busy_timeout=10000",
            "jdbc.schema-version": "V1",
        }
    return f"CREATE CATALOG {identifier(settings.lake.catalog)} WITH (\n  {options(catalog)}\n)"


def lake_table(settings: Settings, table: str) -> str:
    """A table's full name."""
    return ".".join(identifier(part) for part in (settings.lake.catalog, settings.lake.namespace, table))


def _client(settings: Settings) -> dict[str, str]:
    return {f"properties.{name}": value for name, value in settings.kafka.java_client().items()}
