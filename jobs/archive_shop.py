"""The events of the shop and the bank, and the records that their services refused -> the Iceberg tables of their topics' names.

    flink run -py jobs/archive_shop.py        (or, for short: ./streamhouse submit archive_shop)

How: jobs/flink/archive.py.
"""

from __future__ import annotations

import sys

from pyflink.table import StatementSet, TableEnvironment

from infra.config import Settings
from jobs.begin import Begin
from jobs.flink import archive
from jobs.flink.launch import launch

NAME = "archive_shop"


def build(table_environment: TableEnvironment, settings: Settings, _: Begin) -> StatementSet:
    """The job as a statement set: one source, one Python step, a table per topic."""
    return archive.archive(table_environment, settings, NAME)


def configuration(settings: Settings) -> dict[str, str]:
    """Flink's settings for this job."""
    return archive.configuration(settings.archive_shop.parallelism, settings.archive_shop.checkpoint_interval)


def start() -> bool:
    """Submit it, as `jobs.flink.launch.launch` says."""
    return launch(NAME, configuration, build)


if __name__ == "__main__":
    sys.exit(not start())
