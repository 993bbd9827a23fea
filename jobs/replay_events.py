"""user_actions + predictions, as two snapshots hold them -> joined -> scored again -> how many came to what, bounded.

    ./streamhouse replay --flink        (it pins the snapshots, and calls flink run -py jobs/replay_events.py REQUEST for them)

One vectorised UDF answers joined rows with a code each; what is counted by code comes back to the client as lines of JSON.
"""

from __future__ import annotations

import json
import sys

from pyflink.table import TableEnvironment

from infra.config import Settings, load_settings
from infra.errors import StreamhouseError
from jobs.flink import environment, tables
from jobs.flink.replay_udf import COLUMNS, replay_rows
from jobs.flink.sql import literal
from jobs.replay.request import GROUP, Request, begun, read_request

_PREDICTION = ("action_id", "user_id", "score", "model_name", "model_version", "model_sha256", "features")


def build(table_environment: TableEnvironment, settings: Settings, request: Request) -> str:
    """The job as one query: two sources, a join, one Python step, counts."""
    table_environment.execute_sql(tables.iceberg_catalog(settings))
    table_environment.create_temporary_function("replay_rows", replay_rows(request.batch))

    # an action that the table holds twice counts twice, and its predictions are those of the first
    table_environment.execute_sql(f"""
        CREATE TEMPORARY VIEW actions AS
        SELECT topic_partition, topic_offset, `value`, {tables.KAFKA_MILLISECONDS} AS kafka_ms,
            ROW_NUMBER() OVER (PARTITION BY topic_partition, topic_offset ORDER BY kafka_time) AS action_number
        FROM {_pinned(settings, "user_actions", request.actions)}
        WHERE {_chosen(request, "topic_partition", "topic_offset")}""")
    table_environment.execute_sql(f"""
        CREATE TEMPORARY VIEW answers AS
        SELECT action_partition, action_offset, {", ".join(_PREDICTION)}, COALESCE(decision, FALSE) AS decision,
            ROW_NUMBER() OVER (PARTITION BY action_partition, action_offset ORDER BY topic_partition, topic_offset) AS prediction_number
        FROM {_pinned(settings, "predictions", request.predictions)}
        WHERE {_chosen(request, "action_partition", "action_offset")}{"" if request.predictions else " AND FALSE"}""")

    # an action beside each of its predictions, actions without one, predictions without one; no number is null
    table_environment.execute_sql(f"""
        CREATE TEMPORARY VIEW together AS
        SELECT COALESCE(topic_partition, action_partition) AS action_partition, COALESCE(topic_offset, action_offset) AS action_offset,
            COALESCE(action_number, 0) AS action_number, COALESCE(prediction_number, 0) AS prediction_number,
            `value` AS action_value, COALESCE(kafka_ms, 0) AS kafka_ms, {", ".join(_PREDICTION)}, COALESCE(decision, FALSE) AS decision
        FROM actions FULL OUTER JOIN answers
            ON topic_partition = action_partition AND topic_offset = action_offset AND action_number = 1""")
    table_environment.execute_sql(f"""
        CREATE TEMPORARY VIEW replayed AS
        SELECT r.action_partition AS p, r.action_offset AS o, r.code AS code, r.model AS model, r.detail AS detail
        FROM (SELECT replay_rows({", ".join(COLUMNS)}) AS r FROM together)""")

    # unanswered offsets that follow each other are one row, so that many of them are few
    return """
        SELECT p, code, model, detail, COUNT(*) AS n, MIN(o) AS first_offset, MAX(o) AS last_offset
        FROM replayed WHERE code <> 'unanswered' GROUP BY p, code, model, detail
        UNION ALL
        SELECT p, 'unanswered', CAST(NULL AS STRING), CAST(NULL AS STRING), COUNT(*), MIN(o), MAX(o)
        FROM (SELECT p, o, o - ROW_NUMBER() OVER (PARTITION BY p ORDER BY o) AS island FROM replayed WHERE code = 'unanswered')
        GROUP BY p, island"""


def _pinned(settings: Settings, table: str, snapshot: int | None) -> str:
    hint = "" if snapshot is None else f" /*+ OPTIONS('snapshot-id' = {literal(str(snapshot))}) */"
    return tables.lake_table(settings, table) + hint


def _chosen(request: Request, partition: str, offset: str) -> str:
    """A condition that Iceberg takes over: it leaves out files, and rows of the others."""
    what = request.what
    spans = [f"({partition} = {p:d} AND {offset} >= {first:d} AND {offset} < {end:d})" for p, (first, end) in sorted(what.offsets.items())]
    parts = [f"({' OR '.join(spans) or 'FALSE'})"]
    if what.by_time:
        parts.append(f"event_time >= TO_TIMESTAMP_LTZ({max(what.from_ms, -_YEARS):d}, 3)")
        parts.append(f"event_time < TO_TIMESTAMP_LTZ({min(what.to_ms, _YEARS):d}, 3)")
    return " AND ".join(parts)


_YEARS = 253_402_300_799_999
"""The end of the year 9999 in ms: no event is later, and Flink counts no further."""


def configuration(request: Request) -> dict[str, str]:
    """Flink's settings for this job."""
    return {
        "parallelism.default": str(request.parallelism),
        # sorted by place, with spilling: bounded memory, and workers see each partition in order
        "table.exec.disabled-operators": "HashJoin,NestedLoopJoin",
        # shares of a slot's memory, each of which must hold the largest row: by default the join's buffers get a tenth of a sort's
        "table.exec.resource.external-buffer-memory": "128 mb",
        "table.exec.sort.max-num-file-handles": "16",
        "table.optimizer.agg-phase-strategy": "TWO_PHASE",  # counted where they are made, not sent one by one
        "python.fn-execution.bundle.time": "20",  # also what bounds a bundle's bytes where every value is a megabyte
        "python.fn-execution.bundle.size": "5000",
        "python.fn-execution.arrow.batch.size": "5000",
    }


def main(argument: str) -> None:
    """Run it to its end. What stands in a line behind a marker is for `jobs.replay.cluster`; each is out before the next."""
    settings, request = load_settings(), read_request(argument)
    table_environment = environment.bounded(settings, request.name, configuration(request))
    query = build(table_environment, settings, request)
    if "--explain" in sys.argv:
        print(table_environment.explain_sql(query))
        return
    result = table_environment.execute_sql(query)
    client = result.get_job_client()
    assert client is not None
    print(begun(str(client.get_job_id())), flush=True)
    with result.collect() as rows:
        for row in rows:
            print(GROUP + json.dumps(list(row)), flush=True)
    client.get_job_execution_result().result()


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except StreamhouseError as error:
        sys.exit(f"error: {error}")
