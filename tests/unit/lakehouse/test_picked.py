"""Rows by their offsets, and where a table holds them: as a reading of the whole log gives them."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest
from pyiceberg.table import FileScanTask

from infra.config import Settings
from lakehouse import picked as module
from lakehouse.append import append
from lakehouse.catalog import load_table, open_catalog
from lakehouse.ledger import record
from lakehouse.log_files import LogFiles
from lakehouse.picked import ByText, picked
from lakehouse.read import LogPlan, plan_log, snapshot
from lakehouse.whereabouts import Whereabouts
from tests.lake import put_records, rewrite_records
from tests.unit.lakehouse.conftest import Rows

COLUMNS = ["topic_offset", "value", "user_id"]


@pytest.fixture(scope="module")
def log(shared_lake: Settings, actions: Rows) -> Settings:
    """Partition 0: offsets 0-59 in interleaving files, then a gap, then 1000-1009; partition 1: 7 and 8."""
    put_records(shared_lake, "user_actions", actions(0, range(0, 60, 2)))
    put_records(shared_lake, "user_actions", actions(0, range(1, 60, 2)))
    put_records(shared_lake, "user_actions", actions(0, range(1000, 1010)))
    put_records(shared_lake, "user_actions", actions(1, [8, 7]))
    return shared_lake


def planned(settings: Settings) -> LogPlan:
    pinned = snapshot(settings, "user_actions")
    assert pinned is not None
    return plan_log(settings, "user_actions", COLUMNS, pinned)


def taken(plan: LogPlan, partition: int, offsets: list[int]) -> list[tuple[int, str]]:
    """Offset and user of each."""
    parts = [rows for _, rows in picked(plan, partition, np.array(sorted(offsets), np.int64))]
    return sorted((row["topic_offset"], row["user_id"]) for rows in parts for row in rows.to_pylist())


@pytest.mark.parametrize("way", ["whole", "forward"])
def test_any_offsets_are_found_and_no_others(log: Settings, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "forward":  # as a file is read that has no room
        monkeypatch.setattr(module, "_OPEN_BYTES", 0)
    plan, rng = planned(log), random.Random(5)
    there = {0: [*range(60), *range(1000, 1010)], 1: [7, 8], 2: []}
    for _ in range(30):
        partition = rng.choice([0, 0, 1, 2])
        wanted = rng.sample(range(1020), rng.choice([1, 3, 400]))
        assert taken(plan, partition, wanted) == [(o, f"user_{o % 2}") for o in there[partition] if o in wanted]


def test_only_files_that_may_hold_one_are_opened(log: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    whole = LogFiles.open

    def watched(files: LogFiles, wanted: list[tuple[int, FileScanTask]]) -> None:
        opened.extend(task.file.file_path for _, task in wanted)
        whole(files, wanted)

    monkeypatch.setattr(LogFiles, "open", watched)
    plan = planned(log)
    assert taken(plan, 0, [1004]) == [(1004, "user_0")]
    assert 0 < len(opened) <= 3 < len(plan.files)  # of that append the files of days whose bounds hold it


def test_each_row_lies_in_the_file_that_is_told(lake: Settings, actions: Rows) -> None:
    put_records(lake, "user_actions", actions(0, range(0, 40, 2)))
    put_records(lake, "user_actions", actions(0, range(1, 40, 2)))
    record(lake)
    put_records(lake, "user_actions", actions(0, range(40, 50)))  # which the ledger does not know yet
    appends = [snapshot_of(lake, n) for n in range(3)]
    for merged in (False, True):
        if merged:
            rewrite_records(lake, "user_actions")
        plan = planned(lake)
        where = Whereabouts(lake, "user_actions", plan)
        for path, rows in picked(plan, 0, np.arange(50)):
            for offset in rows["topic_offset"].to_pylist():
                held = where.held(path, 0, offset)
                brought = appends[2 if offset >= 40 else offset % 2]
                # the two appends interleave, so of one offset both may have told the range
                assert brought in [receipt.snapshot_id for receipt in held.receipts]
                assert held.added_by is not None
                assert held.added_by.snapshot_id == (held.read_at.snapshot_id if merged else brought)
                assert held.added_by.operation == ("replace" if merged else "append")
                assert held.file_records >= len(rows)


def snapshot_of(settings: Settings, number: int) -> int:
    with open_catalog(settings) as catalog:
        held = load_table(catalog, settings, "user_actions")
        return sorted(held.snapshots(), key=lambda one: one.sequence_number or 0)[number].snapshot_id


def test_deleted_rows_are_not_found(lake: Settings, actions: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with deletes is left to Iceberg's own reader, which says the same where none is deleted."""
    put_records(lake, "user_actions", actions(0, range(30)))
    plan = planned(lake)
    plain = taken(plan, 0, [3, 7, 29])
    assert [offset for offset, _ in plain] == [3, 7, 29]
    asked: list[int] = []
    reader = module._with_deletes

    def watched(*arguments: object) -> pa.Table:
        asked.append(1)
        return reader(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_with_deletes", watched)
    for *_, task in plan.files:
        object.__setattr__(task, "delete_files", {task.file})  # any file: what it deletes is looked up by path, and it names none
    monkeypatch.setattr("pyiceberg.io.pyarrow._read_all_delete_files", lambda *_: {})
    assert taken(plan, 0, [3, 7, 29]) == plain
    assert asked


def test_texts_of_any_letters_are_compared_and_never_read_as_a_filter(lake: Settings) -> None:
    users = ["o'hara", "a' or user_id != '", 'say "x"', "ä\u2028\\", "%", ""]
    append(lake, "user_profiles", pa.table({"user_id": users, "channel": [str(n) for n in range(len(users))]}), "b")
    pinned = snapshot(lake, "user_profiles")
    assert pinned is not None
    by_user = ByText(lake, "user_profiles", "user_id", ("user_id", "channel"), pinned)
    for number, user in enumerate(users):
        assert by_user.rows(user).to_pylist() == [{"user_id": user, "channel": str(number)}]
    assert len(by_user.rows("nobody")) == 0
