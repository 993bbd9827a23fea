"""user-actions -> decode -> enrich -> score -> predictions | user-actions-dlq, exactly once.

    flink run -py jobs/score_events.py          (or, for short: ./streamhouse submit score_events)

One step answers, in a Python worker, as many records at a time as have come; both sinks are committed with the checkpoint. After a
crash inside the cluster the job goes on from its last checkpoint; started anew, it goes on behind what its outputs hold (jobs.begin).
Either way it answers what it reads again with the same features, so the same scores are published once.
"""

from __future__ import annotations

import sys

from pyflink.table import StatementSet, StreamTableEnvironment

from infra.config import Settings
from infra.contracts.load import load_contracts
from infra.contracts.registry import registered_id
from infra.contracts.replays import HEADER
from jobs.answered import DEAD_LETTERS, PREDICTIONS
from jobs.begin import Begin
from jobs.flink import tables
from jobs.flink.answers import answers
from jobs.flink.frames import Task
from jobs.flink.launch import launch
from jobs.flink.sql import literal
from jobs.scoring_parts import SOURCE_TOPIC
from jobs.tried_model import check

NAME = "score_events"


def build(table_environment: StreamTableEnvironment, settings: Settings, begin: Begin) -> StatementSet:
    """The job as a statement set: one source, one Python step, two sinks."""
    topics = load_contracts().topics
    actions, predictions, dead_letters = (topics[name] for name in (SOURCE_TOPIC, PREDICTIONS, DEAD_LETTERS))

    table_environment.execute_sql(tables.source(settings, "actions", [actions.name], group=NAME))
    table_environment.execute_sql(tables.sink(settings, "predictions", predictions.name, predictions.max_message_bytes))
    table_environment.execute_sql(tables.sink(settings, "dead_letters", dead_letters.name, dead_letters.max_message_bytes))
    records = table_environment.sql_query(f"""
        SELECT record_key, record_value, topic_partition, topic_offset, kafka_time, headers[{literal(HEADER)}] AS replay FROM actions""")
    task = Task(settings.score_events.model, {p: ranges.tolist() for p, ranges in begin.answered.items()}, _schema_id(settings))
    table_environment.create_temporary_view("answers", answers(table_environment, records, task, settings.score_events))

    # is_prediction is null where the answer is published already, so that neither sink takes it
    statements = table_environment.create_statement_set()
    statements.add_insert_sql("INSERT INTO predictions SELECT record_key, record_value FROM answers WHERE is_prediction")
    statements.add_insert_sql("INSERT INTO dead_letters SELECT record_key, record_value FROM answers WHERE NOT is_prediction")
    return statements


def _schema_id(settings: Settings) -> int | None:
    """The id that predictions are framed with; None: they are written plain."""
    if settings.registry.framed != PREDICTIONS:
        return None
    return registered_id(settings, PREDICTIONS, "Prediction", 1)


def configuration(settings: Settings) -> dict[str, str]:
    """Flink's settings for this job."""
    tuning = settings.score_events
    return {
        "parallelism.default": str(tuning.parallelism),
        "execution.checkpointing.interval": tuning.checkpoint_interval,
        "pipeline.object-reuse": "true",  # else each step copies each record for the next, a third of the JVM's time
    }


def start() -> bool:
    """Submit it, as `jobs.flink.launch.launch` says."""
    return launch(NAME, configuration, build, outputs=(PREDICTIONS, DEAD_LETTERS), check=check)


if __name__ == "__main__":
    sys.exit(not start())
