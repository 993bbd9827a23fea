from __future__ import annotations

from dataclasses import replace

import numpy as np

from infra.contracts.load import load_contracts
from jobs.archive_columns import COLUMNS
from jobs.audit.files import Measured, judge
from jobs.audit.gaps import Held, Holes, runs_of
from jobs.audit.pins import PinnedTopic
from jobs.findings import KEPT, Finding, Findings
from lakehouse.receipts import Receipt
from lakehouse.tables import ARCHIVES

TOPIC = PinnedTopic("predictions", "predictions", 2, ())
FIRST = Receipt("predictions", 1, None, 1, 0, "append", None, None, 0, 0, 9, 10, 1, None, None, 0, 0)
NEXT = replace(FIRST, snapshot_id=2, parent_id=1, sequence_number=2, first_offset=12, last_offset=20, records=9)


def held(*offsets: int, end: int, low: int = 0, aborted: tuple[int, ...] = ()) -> dict[int, Held]:
    holes = Holes(low)
    for offset in offsets:
        holes.add(np.array([offset]))
    holes.close(end)
    return {0: Held(low, end, holes.runs, runs_of(np.array(aborted, np.int64)))}


def judged(topic: dict[int, Held], *receipts: Receipt) -> tuple[list[str], list[str]]:
    measured = judge(TOPIC, Measured("predictions", receipts=list(receipts)), topic)
    return [finding.sentence for finding in measured.findings.kept], [one.sentence for one in measured.unproven]


def test_a_gap_is_right_where_the_topic_has_no_committed_record() -> None:
    records = [*range(10), *range(12, 21)]
    assert judged(held(*records, end=22, aborted=(10,)), FIRST, NEXT) == ([], [])
    later = replace(NEXT, first_offset=14, records=7)
    (wrong,), _ = judged(held(*range(10), 12, *range(14, 21), end=22, aborted=(10, 11)), FIRST, later)
    assert wrong == (
        "table predictions, partition 0: offsets 10-13 are in no snapshot, between snapshots 1 and 2;"
        " the topic holds 1 committed records, 2 aborted ones and 1 offsets with neither there, the first committed one at offset 12"
    )


def test_a_range_with_fewer_records_than_offsets_is_right_where_the_topic_has_as_few() -> None:
    sparse = replace(FIRST, records=8)
    records = [0, 1, 2, 5, 6, 7, 8, 9]
    assert judged(held(*records, end=10, aborted=(3,)), sparse) == ([], [])
    for topic, told in (
        (held(0, 1, 2, 3, 5, 6, 7, 8, 9, end=10), "9 committed records, 0 aborted ones and 1 offsets with neither"),
        (held(0, 1, 2, 5, 6, 7, 9, end=10, aborted=(3, 4)), "7 committed records, 2 aborted ones and 1 offsets with neither"),
    ):
        (wrong,), _ = judged(topic, sparse)
        assert wrong.endswith(f"2 of offsets 0-9 have no record in snapshot 1; the topic holds {told} there")


def test_where_retention_has_cut_the_topic_a_gap_is_not_proven_unless_what_is_left_shows_a_loss() -> None:
    wrong, (unproven,) = judged(held(*range(12, 21), low=11, end=22), FIRST, NEXT)
    assert wrong == []
    assert unproven.endswith("the topic begins at offset 11: that none of those before it held a record is not proven")
    (loss,), still_unproven = judged(held(*range(11, 21), low=11, end=22), FIRST, NEXT)
    assert still_unproven == []
    assert loss.endswith("1 committed records, 0 aborted ones and 0 offsets with neither there, the first committed one at offset 11")


def test_offsets_that_the_topic_has_not_reached_are_found() -> None:
    (wrong,), _ = judged(held(*range(10), end=11), FIRST, NEXT)
    assert wrong.endswith("offsets 10-11 are in no snapshot, between snapshots 1 and 2; the topic ends before offset 11")


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
