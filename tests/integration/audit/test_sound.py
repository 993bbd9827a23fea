"""Where all is well the audit finds nothing, and what is still on its way is no finding."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pyarrow.compute as pc
import pytest
from confluent_kafka import Consumer, TopicPartition

from infra.clock import system_clock
from infra.config import Settings, load_settings
from jobs.audit.catch_up import wait
from jobs.audit.pins import ANSWERS, Pin
from jobs.audit.run import audit
from jobs.audit.second_look import still_missing
from jobs.committed_records import read_all
from jobs.scoring_parts import GROUP, rules
from lakehouse import migrate
from lakehouse.read import read
from tests.audited import PARTITIONS, Archive
from tests.integration.audit.conftest import ACTIONS
from tests.integration.audit.reports import kinds
from tests.lake import put_records, rewrite_records


@pytest.mark.parametrize("processes", [0, 2])
def test_where_all_is_well_nothing_is_found(lake: Settings, processes: int) -> None:
    report = audit(lake, settled=True, processes=processes)
    assert kinds(report) == {}
    assert report.unproven == []
    assert report.counts.actions == ACTIONS + 4
    assert report.counts.predictions == ACTIONS
    assert report.counts.dead_letters == 4
    assert report.counts.repeated_event_ids == 1
    assert set(report.counts.not_archived.values()) == {0}
    assert report.counts.snapshots["predictions"] > 1


def test_a_rewrite_that_keeps_its_rows_is_clean(lake: Settings) -> None:
    for table in ("user_actions", "predictions", "user_actions_dlq"):
        rewrite_records(lake, table)
    assert kinds(audit(lake, settled=True)) == {}


def test_a_row_that_never_came_is_told_from_one_that_may_still_come(clean: Settings, lake: Settings, tmp_path: Path) -> None:
    rows = read(lake, "predictions")
    last = pc.max(rows.filter(pc.equal(rows["topic_partition"], 2))["topic_offset"]).as_py()
    short = load_settings({"STREAMHOUSE_STATE": str(tmp_path / "short"), "STREAMHOUSE_KAFKA_PORT": str(clean.kafka.port)})
    migrate.apply(short)
    for topic in ("user-actions", "user-actions-dlq"):
        Archive(short).follow(topic)
    is_last = pc.and_(pc.equal(rows["topic_partition"], 2), pc.equal(rows["topic_offset"], last))
    put_records(short, "predictions", rows.filter(pc.invert(is_last)))
    report = audit(short)
    assert kinds(report) == {}
    assert report.counts.not_archived["predictions"] == 1
    (finding,) = audit(short, settled=True).findings.kept
    assert (finding.kind, finding.partition, finding.offset) == ("dropped_row", 2, last)


def test_it_can_wait_for_answers_and_tables(clean: Settings, lake: Settings, tmp_path: Path) -> None:
    with closing(Consumer({**lake.kafka.client(), "group.id": GROUP, "enable.auto.commit": False})) as group:
        places = [TopicPartition("user-actions", p) for p in range(PARTITIONS)]
        ends = [TopicPartition(place.topic, place.partition, group.get_watermark_offsets(place)[1]) for place in places]
        group.commit(offsets=ends, asynchronous=False)
    assert wait(lake, 0.0, system_clock, time.sleep)
    behind = load_settings({"STREAMHOUSE_STATE": str(tmp_path / "behind"), "STREAMHOUSE_KAFKA_PORT": str(clean.kafka.port)})
    migrate.apply(behind)
    assert not wait(behind, 0.0, system_clock, time.sleep)


def test_answers_that_came_behind_the_pinned_ends_fill_the_holes(clean: Settings) -> None:
    answered = {(p, o) for p, o in read_places(clean) if o % 5 == 0}
    before = [Pin(topic, p, 0, 0, None) for topic in ANSWERS for p in range(PARTITIONS)]
    missing = answered | {(1, 10**6)}
    assert still_missing(clean, missing, before, rules().contract, seconds=0.0) == {(1, 10**6)}


def read_places(settings: Settings) -> set[tuple[int, int]]:
    return {(message.partition() or 0, message.offset() or 0) for message in read_all(settings, "user-actions", PARTITIONS)}
