"""Every topic of the scoring path -> the Iceberg table of its name, one row per committed record, exactly once.

    flink run -py jobs/archive_topics.py        (or, for short: ./streamhouse submit archive_topics)

How: jobs/flink/archive.py.
"""

from __future__ import annotations

import sys

from pyflink.table import StatementSet, TableEnvironment

from infra.config import Settings
from jobs.begin import Begin
from jobs.flink import archive
from jobs.flink.launch import launch

NAME = "archive_topics"


def build(table_environment: TableEnvironment, settings: Settings, _: Begin) -> StatementSet:
    """The job as a statement set: one source, one Python step, a table per topic."""
    return archive.archive(table_environment, settings, NAME)


def configuration(settings: Settings) -> dict[str, str]:
    """Flink's settings for this job."""
    return archive.configuration(settings.archive_topics.parallelism, settings.archive_topics.checkpoint_interval)


def start() -> bool:
    """Submit it, as `jobs.flink.launch.launch` says."""
    return launch(NAME, configuration, build)


if __name__ == "__main__":
    sys.exit(not start())
