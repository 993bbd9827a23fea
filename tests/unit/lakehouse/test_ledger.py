from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pyarrow as pa
import pytest
from pyiceberg.table import Table

from infra.config import Settings
from lakehouse import ledger as book
from lakehouse.catalog import load_table, open_catalog
from lakehouse.chain import Kind, broken
from lakehouse.ledger import KEPT_MS, appended, ledger, record
from lakehouse.receipts import EXPIRED, receipts
from lakehouse.tables import ARCHIVES
from tests.lake import put_records, rewrite_records
from tests.unit.lakehouse.conftest import Rows
from tests.unit.lakehouse.test_receipts import ARCHIVE, expire


def held(lake: Settings) -> Table:
    with open_catalog(lake) as catalog:
        return load_table(catalog, lake, "receipts")


def on_disk(lake: Settings) -> set[str]:
    folder = Path(held(lake).location().removeprefix("file://"))
    return {path.as_uri() for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".metadata.json")}


def test_receipts_are_copied_once_and_outlive_their_snapshots(lake: Settings, actions: Rows) -> None:
    put_records(lake, ARCHIVE, actions(0, range(3)), {"flink.job-id": "abc", "flink.max-committed-checkpoint-id": "12"})
    put_records(lake, "user_actions_dlq", actions(1, range(2)).select(["topic_partition", "topic_offset", "event_time"]))
    assert record(lake) == 2
    assert record(lake) == 0
    put_records(lake, ARCHIVE, actions(0, range(3, 6)))
    rewrite_records(lake, ARCHIVE)
    was = receipts(lake, ARCHIVE)
    assert ledger(lake, ARCHIVE) == was  # one recorded, two not yet
    assert record(lake) == 2
    expire(lake, keep=1)
    assert ledger(lake, ARCHIVE) == was
    assert record(lake) == 0
    assert broken(ledger(lake, ARCHIVE)) == []
    assert [r.topic_partition for r in ledger(lake, "user_actions_dlq")] == [1]
    assert ledger(lake, "predictions") == []


def test_what_was_appended_is_told_from_the_ledger_and_from_snapshots_that_are_not_in_it_yet(lake: Settings, actions: Rows) -> None:
    for offset in range(0, 12, 3):
        put_records(lake, ARCHIVE, pa.concat_tables([actions(0, range(offset, offset + 3)), actions(1, [offset])]))
        if offset == 3:
            record(lake)
            expire(lake, keep=1)
    rewrite_records(lake, ARCHIVE, lambda rows: rows.slice(1))
    assert sorted(appended(lake, ARCHIVE, 0, 0, 100).tolist()) == [[0, 2, 3], [3, 5, 3], [6, 8, 3], [9, 11, 3]]
    assert sorted(appended(lake, ARCHIVE, 0, 5, 9).tolist()) == [[3, 5, 3], [6, 8, 3]]
    assert record(lake) > 0
    assert sorted(appended(lake, ARCHIVE, 1, 4, 100).tolist()) == [[6, 6, 1], [9, 9, 1]]
    assert appended(lake, ARCHIVE, 2, 0, 100).shape == (0, 3)


def test_a_snapshot_that_expired_before_it_was_recorded_is_a_missing_link_for_good(lake: Settings, actions: Rows) -> None:
    for offset in range(4):
        put_records(lake, ARCHIVE, actions(0, [offset]))
        if offset == 0:
            record(lake)
    rewrite_records(lake, ARCHIVE)
    put_records(lake, ARCHIVE, actions(0, [4]))
    expire(lake, keep=2)
    assert record(lake) == 2
    assert record(lake) == 0
    found = broken(ledger(lake, ARCHIVE))
    assert [(b.kind, b.count) for b in found] == [(Kind.LINK, 3), (Kind.GAP, 3)]


def test_what_live_files_tell_of_an_expired_snapshot_is_recorded_once(lake: Settings, actions: Rows) -> None:
    for offset in range(2):
        put_records(lake, ARCHIVE, actions(0, [offset]))
    assert record(lake) == 2
    for offset in range(2, 5):
        put_records(lake, ARCHIVE, actions(0, [offset]))
    expire(lake, keep=1)
    assert record(lake) == 3
    put_records(lake, ARCHIVE, actions(0, [5]))
    assert record(lake) == 1
    expire(lake, keep=1)
    assert record(lake) == 0
    rows = ledger(lake, ARCHIVE)
    assert [r.operation for r in rows] == ["append", "append", EXPIRED, EXPIRED, "append", "append"]
    assert [b.kind for b in broken(rows)] == [Kind.EXPIRED] * 2


def test_processes_that_record_at_once_leave_no_receipt_twice(lake: Settings, actions: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "MERGE_FILES", 2)
    together = Barrier(3, timeout=60)

    def recorded(_: int) -> int:
        together.wait()
        return record(lake)

    with ThreadPoolExecutor(3) as pool:
        for round_ in range(4):
            put_records(lake, ARCHIVE, actions(0, [2 * round_, 2 * round_ + 1]))
            assert sum(pool.map(recorded, range(3))) == 1
    assert broken(ledger(lake, ARCHIVE)) == []
    assert len(ledger(lake, ARCHIVE)) == 4
    table = held(lake)
    data = {t.file.file_path for t in table.scan().plan_files()}
    # who came second has taken its file away again
    assert {path for path in on_disk(lake) if path.endswith(".parquet")} >= data
    assert len(data) <= 3


def test_the_ledger_is_merged_and_only_what_no_reader_can_need_is_deleted(
    lake: Settings, actions: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book, "MERGE_FILES", 3)
    archive_files = {p for name in ARCHIVES for p in (lake.state / "lake").rglob(f"{name}/**/*") if p.is_file()}

    def commits(start: int, count: int, clock: int) -> None:
        for offset in range(start, start + count):
            put_records(lake, ARCHIVE, actions(0, [offset]))
            assert record(lake, lambda: clock) == 1

    young = held(lake).metadata.last_updated_ms
    commits(0, 3, young)
    early = held(lake)
    assert len(list(early.scan().plan_files())) == 1
    assert len(early.snapshots()) == 4  # nothing is an hour old
    files = on_disk(lake)
    commits(3, 2, young)
    assert files <= on_disk(lake)
    assert early.scan().to_arrow().num_rows == 3  # a reader of the state before is not disturbed
    assert ledger(lake, ARCHIVE) == receipts(lake, ARCHIVE)

    commits(5, 1, young)
    newest = held(lake).current_snapshot()
    assert newest is not None
    commits(6, 1, newest.timestamp_ms + KEPT_MS + 1)
    table = held(lake)
    assert len(list(table.scan().plan_files())) == 1
    # more than an hour old itself, it was what readers got until a moment ago; the append and the merge came after it
    assert table.snapshots()[0].snapshot_id == newest.snapshot_id
    assert len(table.snapshots()) == 3
    needed = book._files(table, table.snapshots())
    assert on_disk(lake) == needed
    assert ledger(lake, ARCHIVE) == receipts(lake, ARCHIVE)
    assert broken(ledger(lake, ARCHIVE)) == []
    assert all(path.is_file() for path in archive_files)
    assert KEPT_MS == 3_600_000


def test_a_full_file_is_merged_no_more(lake: Settings, actions: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "MERGE_FILES", 3)
    monkeypatch.setattr(book, "FULL_ROWS", 3)
    for offset in range(7):
        put_records(lake, ARCHIVE, actions(0, [offset]))
        record(lake)
    counts = sorted(task.file.record_count for task in held(lake).scan().plan_files())
    assert counts == [1, 3, 3]
    assert len(ledger(lake, ARCHIVE)) == 7


def test_a_table_that_apply_has_yet_to_make_does_not_hold_up_the_receipts_of_the_others(lake: Settings, actions: Rows) -> None:
    put_records(lake, ARCHIVE, actions(0, range(3)))
    with open_catalog(lake) as catalog:
        catalog.drop_table((lake.lake.namespace, "accounts"))
    assert record(lake) == 1
    assert record(lake) == 0
