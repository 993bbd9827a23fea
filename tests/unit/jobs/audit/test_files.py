from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from infra.contracts.load import load_contracts
from jobs.archive_rows import COLUMNS
from jobs.audit.files import Held, Measured, judge
from jobs.audit.findings import KEPT, Finding, Findings
from jobs.audit.pins import PinnedTopic
from jobs.audit.strand import Holes
from lakehouse.receipts import Receipt
from lakehouse.tables import ARCHIVES

TOPIC = PinnedTopic("predictions", "predictions", 2, ())
FIRST = Receipt("predictions", 1, None, 1, 0, "append", None, None, 0, 0, 9, 10, 1, None, None, 0, 0)
NEXT = replace(FIRST, snapshot_id=2, parent_id=1, sequence_number=2, first_offset=12, last_offset=20, records=9)


def held(*offsets: int, end: int, low: int = 0) -> dict[int, Held]:
    holes = Holes(low)
    for offset in offsets:
        holes.add(np.array([offset]))
    return {0: Held(low, holes.closed(end))}


def judged(topic: dict[int, Held], *receipts: Receipt) -> tuple[list[str], list[str]]:
    measured = judge(TOPIC, Measured("predictions", receipts=list(receipts)), topic)
    return [finding.sentence for finding in measured.findings.kept], [one.sentence for one in measured.unproven]


@pytest.mark.parametrize(
    ("offsets", "end", "runs"), [([2, 3, 6], 9, [[0, 2], [4, 6], [7, 9]]), ([0, 1], 2, []), ([], 3, [[0, 3]]), ([], 0, [])]
)
def test_holes_are_runs_without_a_record(offsets: list[int], end: int, runs: list[list[int]]) -> None:
    holes = Holes(0)
    for offset in offsets:
        holes.add(np.array([offset]))
    assert holes.closed(end).tolist() == runs


def test_how_many_offsets_of_a_range_are_empty() -> None:
    (topic,) = held(2, 3, 6, end=9).values()
    for first in range(9):
        for last in range(first, 9):
            empty = sorted(set(range(first, last + 1)) - {2, 3, 6})
            assert topic.empty(first, last) == len(empty)
            if records := sorted(set(range(first, last + 1)) & {2, 3, 6}):
                assert topic.first_record(first, last) == records[0]


def test_a_gap_is_right_where_the_topic_has_no_record() -> None:
    records = [*range(10), *range(12, 21)]
    assert judged(held(*records, end=22), FIRST, NEXT) == ([], [])
    (wrong,), _ = judged(held(*records[:10], 11, *records[10:], end=22), FIRST, NEXT)
    assert wrong == (
        "table predictions, partition 0: offsets 10-11 are in no snapshot, between snapshots 1 and 2,"
        " and the topic holds 1 records there, the first at offset 11"
    )


def test_a_range_with_fewer_records_than_offsets_is_right_where_the_topic_has_as_few() -> None:
    sparse = replace(FIRST, records=8)
    records = [0, 1, 2, 5, 6, 7, 8, 9]
    assert judged(held(*records, end=10), sparse) == ([], [])
    (wrong,), _ = judged(held(0, 1, 2, 3, 5, 6, 7, 8, 9, end=10), sparse)
    assert wrong.endswith("2 of offsets 0-9 have no record in snapshot 1, and in the topic 1 of them hold no record")


def test_where_retention_has_cut_the_topic_a_gap_is_not_proven() -> None:
    wrong, (unproven,) = judged(held(*range(12, 21), low=12, end=22), FIRST, NEXT)
    assert wrong == []
    assert unproven.endswith("the topic begins at offset 12: that none of them held a record is not proven")


def test_what_no_topic_can_excuse_is_found() -> None:
    (overlap,), _ = judged(held(*range(21), end=21), FIRST, replace(NEXT, first_offset=8, records=13))
    assert "offsets 8-9 are in snapshot 1 and again in snapshot 2" in overlap


def test_a_snapshot_without_a_receipt_is_not_proven() -> None:
    wrong, (unproven,) = judged(held(*range(21), end=21), FIRST, replace(NEXT, parent_id=7, sequence_number=3, first_offset=10, records=11))
    assert wrong == []
    assert "1 snapshots have no receipt" in unproven


def test_findings_are_kept_up_to_a_number_and_all_counted() -> None:
    many, more = Findings(), Findings()
    for n in range(3 * KEPT):
        many.add(Finding("t", "k", 0, n, "s"))
        more.add(Finding("t", "k", 1, n, "s"))
    more.add(Finding("t", "other", 1, None, "s"), 5)
    many.merge([more])
    assert many.total == 6 * KEPT + 5
    assert len(many.kept) == KEPT + 1


def test_every_archived_topic_has_receipts() -> None:
    topics = load_contracts().topics
    assert {topics[name].table for name in COLUMNS} == set(ARCHIVES)
