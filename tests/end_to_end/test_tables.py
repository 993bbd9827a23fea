"""The archive tables look after themselves: while records keep coming, neither their files nor their snapshots keep growing.

Meanwhile the receipts of their snapshots are recorded, as the keeper of a stack does it.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict

import pytest
from confluent_kafka import Producer
from pyiceberg.table import Table

from infra.config import Settings
from infra.contracts.contract import Topic
from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from jobs.archive_columns import ARCHIVED
from lakehouse.catalog import load_table, open_catalog
from lakehouse.chain import broken
from lakehouse.ledger import ledger, record
from lakehouse.read import read
from lakehouse.receipts import EXPIRED
from lakehouse.tags import tag, untag
from tests.end_to_end.actions import GOOD
from tests.end_to_end.facts import place_of, records, wait_for

COMMITS = 30  # six rounds of upkeep
KEPT = "kept"


@pytest.fixture(scope="module")
def looked_after(archived: Settings) -> Settings:
    """The stack after some rounds of upkeep, in which no partition and day had many files at the end."""
    producer = Producer(archived.kafka.client())
    tag(archived, KEPT, ["user_actions"])
    first, last = sequence(archived), 0.0

    def busiest() -> int:
        """The most files that a partition and day has, after a commit more."""
        nonlocal last
        if time.monotonic() - last > 0.5:
            last = time.monotonic()
            producer.produce("user-actions", GOOD, key=b"guest", partition=partition_of("guest", 4))
            producer.flush(30)
            record(archived)
        with open_catalog(archived) as catalog:
            return max(files_by_day(load_table(catalog, archived, "user_actions")).values())

    every = archived.archive_topics.maintain_every_commits
    # each commit of an action adds a file to its partition and day, so without merging there would be more and more
    wait_for(lambda: busiest() <= 4 * every and sequence(archived) - first > COMMITS, seconds=400, between=0.1)
    return archived


def test_files_and_snapshots_stay_bounded_while_the_job_runs(looked_after: Settings) -> None:
    with open_catalog(looked_after) as catalog:
        table = load_table(catalog, looked_after, "user_actions")
        # a snapshot may be as old as the settings say when upkeep comes round, plus the rounds that are under way
        kept = table.refs()[KEPT].snapshot_id
        oldest = max(time.time() - snapshot.timestamp_ms / 1000 for snapshot in table.snapshots() if snapshot.snapshot_id != kept)
        every = looked_after.archive_topics.maintain_every_commits
        assert oldest < looked_after.archive_topics.snapshot_seconds + 3 * every * 2 + 60
        assert len(table.metadata.metadata_log) <= 21


def test_what_a_tag_names_outlives_upkeep(looked_after: Settings) -> None:
    with open_catalog(looked_after) as catalog:
        named = load_table(catalog, looked_after, "user_actions").snapshot_by_name(KEPT)
    assert named is not None
    assert named.summary is not None

    def its_neighbour_is_gone() -> bool:
        with open_catalog(looked_after) as catalog:
            numbers = {s.sequence_number for s in load_table(catalog, looked_after, "user_actions").snapshots()}
        return (named.sequence_number or 0) + 1 not in numbers and named.sequence_number in numbers

    wait_for(its_neighbour_is_gone, seconds=200)
    rows = read(looked_after, "user_actions", columns=["topic_offset"], snapshot_id=named.snapshot_id)
    assert len(rows) == int(named.summary["total-records"] or 0)
    assert untag(looked_after, KEPT, ["user_actions"])


@pytest.mark.parametrize("topic", [load_contracts().topics[name] for name in ARCHIVED["archive_topics"]], ids=lambda topic: topic.name)
def test_receipts_form_a_chain_that_leaves_out_only_what_no_reader_of_the_topic_sees(looked_after: Settings, topic: Topic) -> None:
    with open_catalog(looked_after) as catalog:  # before the ledger: the job goes on
        listed = {s.snapshot_id for s in load_table(catalog, looked_after, topic.archive).snapshots()}
    rows = ledger(looked_after, topic.archive)
    seen = {row.snapshot_id for row in rows if row.operation != EXPIRED}
    found = [b for b in broken(rows) if b.before in seen]  # what expired before anything was recorded is told apart
    if topic.table == "user_actions":
        assert {row.operation for row in rows} >= {"append", "replace"}
        assert seen > listed
    assert [str(b) for b in found if not b.asks_topic] == []
    committed: defaultdict[int | None, list[int]] = defaultdict(list)
    for partition, offset in sorted(place_of(message) for message in records(looked_after, topic.name)):
        committed[partition].append(offset)
    for b in found:
        assert b.first is not None
        assert b.last is not None
        offsets = committed[b.partition]
        inside = bisect_right(offsets, b.last) - bisect_left(offsets, b.first)
        assert inside == b.last - b.first + 1 - b.count, str(b)


def sequence(settings: Settings) -> int:
    """A number that grows by one with each commit to user_actions."""
    with open_catalog(settings) as catalog:
        newest = load_table(catalog, settings, "user_actions").current_snapshot()
        return newest.sequence_number or 0 if newest else 0


def files_by_day(table: Table) -> Counter[str]:
    return Counter(str(task.file.partition) for task in table.scan().plan_files())
