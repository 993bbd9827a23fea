from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.chain import Break, Kind, broken
from lakehouse.receipts import EXPIRED, NO_PARTITION, Receipt


def append(
    number: int, first: int | None, last: int | None, *, partition: int = 0, records: int | None = None, table: str = "t"
) -> Receipt:
    """The receipt of the so-manieth snapshot, id 100 and up, after the one before it."""
    full = 0 if first is None or last is None else last - first + 1
    return Receipt(
        table=table,
        snapshot_id=100 + number,
        parent_id=None if number == 1 else 99 + number,
        sequence_number=number,
        committed_ms=number,
        operation="append",
        job_id="j",
        checkpoint_id=number,
        topic_partition=partition,
        first_offset=first,
        last_offset=last,
        records=full if records is None else records,
        files=1,
        removed_first=None,
        removed_last=None,
        removed_records=0,
        removed_files=0,
    )


def rewrite(number: int, first: int, last: int, *, partition: int = 0) -> Receipt:
    row = append(number, first, last, partition=partition)
    return replace(row, operation="replace", removed_first=first, removed_last=last, removed_records=row.records, removed_files=5)


def kinds(found: list[Break]) -> list[Kind]:
    return [b.kind for b in found]


def test_ranges_that_meet_rewrites_that_keep_and_parents_that_are_there_are_a_chain() -> None:
    chain = [
        replace(append(1, None, None), topic_partition=NO_PARTITION, files=0),
        append(2, 0, 4),
        append(2, 0, 9, partition=1),
        append(3, 5, 5),
        rewrite(4, 0, 5),
        append(5, 10, 19, partition=1),
        append(6, 6, 8),
    ]
    assert broken(chain) == []
    assert broken(reversed(chain)) == []
    assert broken([*chain, *(replace(row, table="u") for row in chain)]) == []
    assert broken([]) == []


def test_a_gap_is_a_value_that_the_topic_is_asked_about() -> None:
    (gap,) = broken([append(1, 0, 4), append(2, 7, 9)])
    assert gap == Break(Kind.GAP, "t", 0, 5, 6, 101, 102, 2)
    assert gap.asks_topic
    assert str(gap) == "table t, partition 0: offsets 5-6 are in no snapshot, between snapshots 101 and 102"
    (start,) = broken([append(1, 3, 4)])
    assert (start.first, start.last, start.before, start.after) == (0, 2, None, 101)


def test_an_append_with_fewer_records_than_offsets_asks_the_topic_and_one_with_more_is_wrong() -> None:
    (sparse,) = broken([append(1, 0, 9, records=8)])
    assert (sparse.kind, sparse.count, sparse.asks_topic) == (Kind.SPARSE, 2, True)
    (crowded,) = broken([append(1, 0, 9, records=13)])
    assert (crowded.kind, crowded.count, crowded.asks_topic) == (Kind.CROWDED, 3, False)


def test_an_overlap_names_the_offsets_and_both_snapshots() -> None:
    (found,) = broken([append(1, 0, 4), append(2, 3, 9), append(3, 10, 11)])
    assert found == Break(Kind.OVERLAP, "t", 0, 3, 4, 101, 102, 2)
    assert not found.asks_topic
    # the same offsets again, in a later snapshot: a doubled file
    (again,) = broken([append(1, 0, 4), append(2, 5, 9), append(3, 5, 9)])
    assert (again.first, again.last, again.before, again.after) == (5, 9, 102, 103)


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        ({"records": 9}, 1),
        ({"first_offset": 1}, 0),
        ({"last_offset": 8}, 0),
        ({"records": 0, "first_offset": None, "last_offset": None}, 10),
    ],
)
def test_a_rewrite_keeps_bounds_and_number_of_records(change: dict[str, int | None], lost: int) -> None:
    (found,) = broken([append(1, 0, 9), replace(rewrite(2, 0, 9), **change)])  # type: ignore[arg-type]
    assert (found.kind, found.first, found.last, found.after, found.count) == (Kind.REWRITE, 0, 9, 102, lost)


def test_rewrites_are_compared_by_partition() -> None:
    moved = [replace(rewrite(2, 0, 9), records=9), replace(rewrite(2, 0, 9, partition=1), records=11)]
    found = broken([append(1, 0, 9), append(1, 0, 9, partition=1), *moved])
    assert [(b.kind, b.partition, b.count) for b in found] == [(Kind.REWRITE, 0, 1), (Kind.REWRITE, 1, -1)]


def test_an_append_that_removes_and_a_commit_of_another_kind_are_named() -> None:
    removes = replace(append(2, 10, 19), removed_files=1, removed_first=0, removed_last=9, removed_records=10)
    (found,) = broken([append(1, 0, 9), removes])
    assert (found.kind, found.first, found.last) == (Kind.REWRITE, 0, 19)
    gone = replace(append(2, None, None), operation="delete", removed_first=0, removed_last=9, removed_records=10, removed_files=1)
    (found,) = broken([append(1, 0, 9), gone])
    assert (found.kind, found.first, found.last, found.count) == (Kind.OPERATION, 0, 9, 10)


def test_a_lost_snapshot_is_a_missing_link_with_the_number_of_commits() -> None:
    (link, gap) = broken([append(1, 0, 4), append(4, 8, 9)])
    assert (link.kind, link.before, link.after, link.count, link.partition) == (Kind.LINK, 101, 104, 2, None)
    assert (gap.kind, gap.first, gap.last) == (Kind.GAP, 5, 7)
    assert str(link) == "table t: 2 snapshots have no receipt, between snapshots 101 and 104"
    (start,) = broken([rewrite(3, 0, 4)])
    assert (start.kind, start.before, start.count) == (Kind.LINK, None, 2)


def test_a_snapshot_that_takes_the_place_of_another_is_a_broken_link() -> None:
    rolled_back = replace(append(3, 5, 6), parent_id=101)
    found = broken([append(1, 0, 4), append(2, 5, 6), rolled_back])
    assert [(b.kind, b.before, b.after) for b in found] == [(Kind.LINK, 102, 103), (Kind.OVERLAP, 102, 103)]
    assert "snapshot 103 does not follow snapshot 102" in str(found[0])


def test_a_parent_that_its_writer_forgot_is_proved_by_the_numbers() -> None:
    assert broken([append(1, 0, 4), replace(append(2, 5, 6), parent_id=None)]) == []
    assert kinds(broken([append(1, 0, 4), replace(append(3, 5, 6), parent_id=None)])) == [Kind.LINK]


def test_what_expired_unseen_is_named_and_fills_its_range_without_proving_an_overlap() -> None:
    rows = [
        replace(append(1, 0, 4), parent_id=None, operation=EXPIRED),
        replace(append(2, 2, 9), parent_id=None, operation=EXPIRED),  # may be the outcome of a rewrite
        append(3, 10, 11),
    ]
    found = broken(rows)
    assert [(b.kind, b.after, b.count) for b in found] == [(Kind.EXPIRED, 101, 5), (Kind.EXPIRED, 102, 8)]


def test_a_second_receipt_of_one_snapshot_and_partition_is_named_once() -> None:
    (found,) = broken([append(1, 0, 4), append(2, 5, 6), append(2, 5, 6)])
    assert (found.kind, found.after, found.count) == (Kind.TWICE, 102, 1)


@given(seed=st.integers(0, 2**32), partitions=st.integers(1, 4), commits=st.integers(3, 30))
def test_a_sound_chain_is_whole_and_each_loss_doubling_and_shift_in_it_is_found(seed: int, partitions: int, commits: int) -> None:
    rng = random.Random(seed)
    ends, rows = dict.fromkeys(range(partitions), 0), []
    for number in range(1, commits + 1):
        some = rng.sample(range(partitions), rng.randint(1, partitions))
        if number > 1 and rng.random() < 0.2 and (old := [p for p in some if ends[p]]):
            rows += [rewrite(number, 0, ends[p] - 1, partition=p) for p in old]
            continue
        for p in some:
            size = rng.randint(1, 9)
            rows.append(append(number, ends[p], ends[p] + size - 1, partition=p))
            ends[p] += size
    assert broken(rows) == []
    i = rng.randrange(len(rows))
    row = rows[i]
    others = rows[:i] + rows[i + 1 :]
    follows = any(
        r.topic_partition == row.topic_partition and r.operation == "append" and r.sequence_number > row.sequence_number for r in rows
    )
    alone = all(r.sequence_number != row.sequence_number for r in others)
    if alone and row.sequence_number < commits:  # a whole snapshot is gone
        assert Kind.LINK in kinds(broken(others))
    if row.operation == "append":
        assert Kind.SPARSE in kinds(broken([*others, replace(row, records=row.records - 1)]))
        assert Kind.CROWDED in kinds(broken([*others, replace(row, records=row.records + 1)]))
        if follows:
            assert Kind.GAP in kinds(broken(others))
        doubled = replace(row, snapshot_id=999, parent_id=100 + commits, sequence_number=commits + 1)
        assert kinds(broken([*rows, doubled])) == [Kind.OVERLAP]
    else:
        assert Kind.REWRITE in kinds(broken([*others, replace(row, records=row.records - 1)]))
