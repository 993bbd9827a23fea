from __future__ import annotations

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.table import Table

from infra.config import Settings
from lakehouse.catalog import load_table, open_catalog
from lakehouse.errors import LakehouseError
from lakehouse.receipts import EXPIRED, NO_PARTITION, Receipt, doubled_files, receipts
from tests.lake import put_records, rewrite_records
from tests.unit.lakehouse.conftest import Rows

ARCHIVE = "user_actions"


def held(lake: Settings) -> Table:
    with open_catalog(lake) as catalog:
        return load_table(catalog, lake, ARCHIVE)


def ranges(rows: list[Receipt]) -> list[tuple[int, int, int | None, int | None, int]]:
    return [(r.sequence_number, r.topic_partition, r.first_offset, r.last_offset, r.records) for r in rows]


def expire(lake: Settings, keep: int) -> None:
    """Forget all but the newest snapshots, and delete their lists of manifests, as the job's upkeep does."""
    with open_catalog(lake) as catalog:
        table = load_table(catalog, lake, ARCHIVE)
        old = table.snapshots()[:-keep]
        table.maintenance.expire_snapshots().by_ids([s.snapshot_id for s in old]).commit()
        for snapshot in old:
            table.io.delete(snapshot.manifest_list)


def test_a_receipt_tells_which_offsets_of_each_partition_a_snapshot_added(lake: Settings, actions: Rows) -> None:
    put_records(lake, ARCHIVE, actions(0, range(7)), {"flink.job-id": "abc", "flink.max-committed-checkpoint-id": "12"})
    put_records(lake, ARCHIVE, actions(2, [0, 1, 5]))
    first, second = held(lake).snapshots()
    rows = receipts(lake, ARCHIVE)
    assert rows == [
        Receipt(ARCHIVE, first.snapshot_id, None, 1, first.timestamp_ms, "append", "abc", 12, 0, 0, 6, 7, 3, None, None, 0, 0),
        Receipt(
            ARCHIVE, second.snapshot_id, first.snapshot_id, 2, second.timestamp_ms, "append", None, None, 2, 0, 5, 3, 3, None, None, 0, 0
        ),
    ]


def test_one_snapshot_has_a_row_for_each_partition_and_one_without_files_has_a_row_too(lake: Settings, actions: Rows) -> None:
    with (
        open_catalog(lake) as catalog,
        load_table(catalog, lake, ARCHIVE).transaction() as transaction,
        transaction.update_snapshot().fast_append(),
    ):
        pass
    put_records(lake, ARCHIVE, pa.concat_tables([actions(3, range(4)), actions(1, range(2))]))
    assert ranges(receipts(lake, ARCHIVE)) == [(1, NO_PARTITION, None, None, 0), (2, 1, 0, 1, 2), (2, 3, 0, 3, 4)]


def test_a_rewrite_tells_what_it_removed(lake: Settings, actions: Rows) -> None:
    for start in (0, 4):
        put_records(lake, ARCHIVE, actions(1, range(start, start + 4)))
    rewrite_records(lake, ARCHIVE)
    put_records(lake, ARCHIVE, actions(1, range(8, 9)))
    *_, rewrite, last = receipts(lake, ARCHIVE)
    assert rewrite.operation == "replace"
    assert (rewrite.first_offset, rewrite.last_offset, rewrite.records, rewrite.files) == (0, 7, 8, 3)
    assert (rewrite.removed_first, rewrite.removed_last, rewrite.removed_records, rewrite.removed_files) == (0, 7, 8, 6)
    assert (last.first_offset, last.records, last.removed_files) == (8, 1, 0)


def test_snapshots_that_are_known_are_not_read_again(lake: Settings, actions: Rows) -> None:
    for offset in range(4):
        put_records(lake, ARCHIVE, actions(0, [offset]))
    table = held(lake)
    known = [s.snapshot_id for s in table.snapshots()[:3]]
    for snapshot in table.snapshots()[:3]:  # neither their lists nor the manifests that they added are needed
        for manifest in snapshot.manifests(table.io):
            Path(manifest.manifest_path.removeprefix("file://")).unlink(missing_ok=True)
        table.io.delete(snapshot.manifest_list)
    assert ranges(receipts(lake, ARCHIVE, known)) == [(4, 0, 3, 3, 1)]


def test_what_expired_unseen_is_told_from_its_live_files_and_marked(lake: Settings, actions: Rows) -> None:
    for offset in range(0, 8, 2):
        put_records(lake, ARCHIVE, actions(0, [offset, offset + 1]))
    was = receipts(lake, ARCHIVE)
    expire(lake, keep=1)
    rows = receipts(lake, ARCHIVE)
    assert ranges(rows) == ranges(was)
    assert [r.operation for r in rows] == [EXPIRED] * 3 + ["append"]
    assert [(r.snapshot_id, r.parent_id, r.committed_ms) for r in rows[:3]] == [(r.snapshot_id, None, None) for r in was[:3]]
    # where the snapshots were known in time, nothing is guessed
    assert [r.sequence_number for r in receipts(lake, ARCHIVE, [r.snapshot_id for r in was[:3]])] == [4]


def test_what_expired_unseen_and_was_rewritten_leaves_no_receipt(lake: Settings, actions: Rows) -> None:
    for offset in range(3):
        put_records(lake, ARCHIVE, actions(0, [offset]))
    rewrite_records(lake, ARCHIVE)
    expire(lake, keep=1)
    assert [(r.operation, r.sequence_number) for r in receipts(lake, ARCHIVE)] == [("replace", 4)]


def test_metadata_whose_files_are_gone_is_an_error_and_not_an_empty_answer(lake: Settings, actions: Rows) -> None:
    put_records(lake, ARCHIVE, actions(0, [0]))
    table = held(lake)
    table.io.delete(table.snapshots()[0].manifest_list)
    with pytest.raises(LakehouseError, match="table `user_actions`: expected the files that its metadata names"):
        receipts(lake, ARCHIVE)


def test_a_table_that_archives_no_topic_has_no_receipts(lake: Settings) -> None:
    with pytest.raises(LakehouseError, match="table `feature_log`: expected an archive table, one of account_commands_dlq, "):
        receipts(lake, "feature_log")
    with pytest.raises(LakehouseError, match="table `feature_log`: expected an archive table"):
        doubled_files(lake, "feature_log")
    with pytest.raises(LakehouseError, match="table `clicks`"):
        receipts(lake, "clicks")


def test_a_file_named_twice_is_found_with_its_offsets(lake: Settings, actions: Rows) -> None:
    put_records(lake, ARCHIVE, actions(2, range(0, 9, 3)))
    put_records(lake, ARCHIVE, actions(2, range(1, 9, 3)))
    assert doubled_files(lake, ARCHIVE) == []
    with open_catalog(lake) as catalog:
        table = load_table(catalog, lake, ARCHIVE)
        path = next(t.file.file_path for t in table.scan("topic_offset = 4").plan_files())
        table.add_files([path], check_duplicate_files=False)
    (found,) = doubled_files(lake, ARCHIVE)
    snapshots = held(lake).snapshots()
    assert (found.path, found.times, found.topic_partition, found.first_offset, found.last_offset, found.records) == (path, 2, 2, 1, 7, 3)
    assert set(found.snapshot_ids) == {snapshots[1].snapshot_id, snapshots[2].snapshot_id}
    assert "offsets 1-7) is named 2 times" in str(found)


def test_times_are_milliseconds(lake: Settings, actions: Rows) -> None:
    put_records(lake, ARCHIVE, actions(0, [0]))
    (row,) = receipts(lake, ARCHIVE)
    assert row.committed_ms is not None
    assert abs(dt.datetime.now(dt.UTC) - dt.datetime.fromtimestamp(row.committed_ms / 1000, dt.UTC)) < dt.timedelta(minutes=5)
