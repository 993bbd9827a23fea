"""The archive tables look after themselves: while records keep coming, neither their files nor their snapshots keep growing."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from confluent_kafka import Producer
from pyiceberg.table import Table

from infra.config import Settings
from infra.contracts.partitioner import partition_of
from lakehouse.catalog import load_table, open_catalog
from tests.end_to_end.actions import GOOD
from tests.end_to_end.facts import wait_for

pytestmark = pytest.mark.timeout(600)
COMMITS = 30  # six rounds of upkeep


def test_files_and_snapshots_stay_bounded_while_the_job_runs(played: Settings) -> None:
    producer = Producer(played.kafka.client())
    first, last = sequence(played), 0.0

    def busiest() -> int:
        """The most files that a partition and day has, after a commit more."""
        nonlocal last
        if time.monotonic() - last > 0.5:
            last = time.monotonic()
            producer.produce("user-actions", GOOD, key=b"guest", partition=partition_of("guest", 4))
            producer.flush(30)
        with open_catalog(played) as catalog:
            return max(files_by_day(load_table(catalog, played, "user_actions")).values())

    every = played.archive_topics.maintain_every_commits
    # each commit of an action adds a file to its partition and day, so without merging there would be more and more
    wait_for(lambda: busiest() <= 4 * every and sequence(played) - first > COMMITS, seconds=400, between=0.1)
    with open_catalog(played) as catalog:
        table = load_table(catalog, played, "user_actions")
        # a snapshot may be as old as the settings say when upkeep comes round, plus the rounds that are under way
        oldest = max(time.time() - snapshot.timestamp_ms / 1000 for snapshot in table.snapshots())
        assert oldest < played.archive_topics.snapshot_seconds + 3 * every * 2 + 60
        assert len(table.metadata.metadata_log) <= 21


def sequence(settings: Settings) -> int:
    """A number that grows by one with each commit to user_actions."""
    with open_catalog(settings) as catalog:
        newest = load_table(catalog, settings, "user_actions").current_snapshot()
        return newest.sequence_number or 0 if newest else 0


def files_by_day(table: Table) -> Counter[str]:
    return Counter(str(task.file.partition) for task in table.scan().plan_files())
