from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.table import FileScanTask
from pyiceberg.types import DoubleType

import lakehouse.read
from infra.config import Settings
from lakehouse import parquet_files
from lakehouse.catalog import load_table, open_catalog
from lakehouse.errors import LakehouseError
from lakehouse.iceberg import arrow_schema
from lakehouse.log_files import LogFiles
from lakehouse.read import LogPlan, log_ends, read, read_batches, read_log, snapshot
from lakehouse.scans import stretch
from lakehouse.tables import declared
from tests.lake import put_records
from tests.unit.lakehouse.conftest import Rows


@pytest.fixture(scope="module")
def log(shared_lake: Settings, actions: Rows) -> Settings:
    """Partition 0: offsets 0-59 in interleaving files, then a gap, then 1000-1009; partition 1: 7 and 8."""
    put_records(shared_lake, "user_actions", actions(0, range(0, 60, 2)))
    put_records(shared_lake, "user_actions", actions(0, range(1, 60, 2)))
    put_records(shared_lake, "user_actions", actions(0, range(1000, 1010)))
    put_records(shared_lake, "user_actions", actions(1, [8, 7]))
    return shared_lake


def offsets(settings: Settings, partition: int, start: int, end: int) -> list[int]:
    batches = read_log(settings, "user_actions", partition, start, end, ["topic_offset", "value"])
    return [offset for batch in batches for offset in batch["topic_offset"].to_pylist()]


@pytest.mark.parametrize("step", [5, 64, 20_000])
def test_a_log_comes_back_in_offset_order_whatever_the_step(log: Settings, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lakehouse.read, "_LOG_ROWS", step)
    assert offsets(log, 0, 3, 1005) == [*range(3, 60), *range(1000, 1005)]
    assert offsets(log, 0, 0, 10**12) == [*range(60), *range(1000, 1010)]
    assert offsets(log, 1, 0, 8) == [7]
    assert offsets(log, 0, 60, 1000) == []
    assert offsets(log, 3, 0, 10) == []


def test_files_read_whole_give_the_rows_that_files_read_in_steps_give(log: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pa.Table.from_batches(list(read_log(log, "user_actions", 0, 5, 1005)))
    monkeypatch.setattr(LogFiles, "rows", lambda *_: None)
    assert whole.equals(pa.Table.from_batches(list(read_log(log, "user_actions", 0, 5, 1005))))
    assert len(whole) == 60


def test_columns_are_known_by_what_they_are_and_not_by_a_name_that_another_had(lake: Settings) -> None:
    with open_catalog(lake) as catalog:
        held = load_table(catalog, lake, "feature_log")
        schema = arrow_schema(declared("feature_log"))
        row = {"topic_partition": 0, "topic_offset": 5, "user_id": "ada", "actions_10m": 1.0}
        held.append(pa.Table.from_pylist([row], schema))  # a file that knows its columns by id
        with held.update_schema() as change:
            change.delete_column("actions_10m")
        with held.update_schema() as change:
            change.add_column("actions_10m", DoubleType())  # another column of a name that there was
        (rows,) = read_log(lake, "feature_log", 0, 0, 10, ["topic_offset", "user_id", "actions_10m"])
        assert rows.to_pylist() == [{"topic_offset": 5, "user_id": "ada", "actions_10m": None}]
        with held.update_schema() as change:
            change.rename_column("actions_10m", "actions_5m").rename_column("user_id", "actions_10m")
    (rows,) = read_log(lake, "feature_log", 0, 0, 10, ["actions_10m", "actions_5m"])
    assert rows.to_pylist() == [{"actions_10m": "ada", "actions_5m": None}]


def test_a_file_that_is_named_twice_is_read_twice(lake: Settings, actions: Rows) -> None:
    put_records(lake, "user_actions", actions(0, [5, 7]))
    with open_catalog(lake) as catalog:
        held = load_table(catalog, lake, "user_actions")
        held.add_files([task.file.file_path for task in held.scan().plan_files()], check_duplicate_files=False)
    assert offsets(lake, 0, 0, 10) == [5, 5, 7, 7]


def test_large_records_are_taken_in_small_steps(lake: Settings, actions: Rows) -> None:
    noise = random.Random(1).randbytes(10 << 20)
    put_records(lake, "user_actions", actions(0, [0], noise))
    put_records(lake, "user_actions", actions(0, [1], noise[::-1]))
    put_records(lake, "user_actions", actions(0, [2, 3], noise[1:]))
    sizes = [len(batch) for batch in read_log(lake, "user_actions", 0, 0, 4)]
    assert sizes == [1, 1, 1, 1]


@dataclass
class Held:
    """Decoded bytes that a reading held at most, in open files and in files read piece by piece."""

    open: int = 0
    forward: int = 0


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    seen, weight = Held(), LogFiles.weight

    def watched(files: LogFiles, number: int, part: pa.Table) -> int:
        seen.open = max(seen.open, sum(rows.nbytes for rows, *_ in files._open.values()))
        seen.forward = max(seen.forward, sum(file.size for file in files._forward.values()))
        return weight(files, number, part)

    monkeypatch.setattr(LogFiles, "weight", watched)
    return seen


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("kind", ["noise", "one value", "blanks"])
def test_what_is_held_is_bounded_whatever_values_are_packed_into(
    lake: Settings, actions: Rows, held: Held, kind: str, monkeypatch: pytest.MonkeyPatch, *, shuffled: bool
) -> None:
    monkeypatch.setattr(lakehouse.read, "_LOG_BYTES", 1 << 20)
    monkeypatch.setattr(lakehouse.read, "_OPEN_BYTES", 2 << 20)
    monkeypatch.setattr(parquet_files, "_PIECE_BYTES", 1 << 20)
    monkeypatch.setattr(parquet_files, "_LARGEST_ROW", 64 << 10)
    chance = random.Random(1)
    make: dict[str, Callable[[int], bytes]] = {
        "noise": lambda _: chance.randbytes(20 << 10),
        "one value": lambda _: b"x" + b" " * (20 << 10),
        "blanks": lambda number: b"%d" % number + b" " * (20 << 10),
    }
    values: list[bytes] = []
    for first in range(0, 1800, 600):  # 4 MB a day
        numbers = [*range(first, first + 600)]
        rows = actions(0, numbers).set_column(2, "value", pa.array([make[kind](number) for number in numbers]))
        values += rows["value"].to_pylist()
        put_records(lake, "user_actions", rows.take(chance.sample(range(600), 600)) if shuffled else rows)
    offset, small = 0, 0
    for batch in read_log(lake, "user_actions", 0, 0, 10**9, ["topic_offset", "value"]):
        assert batch["topic_offset"].to_pylist() == [*range(offset, offset + len(batch))]
        assert batch["value"].to_pylist() == values[offset : offset + len(batch)]
        assert batch.nbytes <= 1 << 20
        offset, small = offset + len(batch), small + (len(batch) < 10)
    assert offset == 1800
    assert small < 40  # a step that was made smaller grows again
    assert shuffled or held.forward > 0
    assert held.open <= 2 << 20
    assert held.forward <= 3 << 20  # 2 MiB, and a piece


def test_rows_of_one_offset_stay_together_where_a_step_holds_too_many(
    lake: Settings, actions: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        put_records(lake, "user_actions", actions(0, range(60)))
    monkeypatch.setattr(lakehouse.read, "_LOG_ROWS", 16)
    batches = [batch["topic_offset"].to_pylist() for batch in read_log(lake, "user_actions", 0, 0, 60)]
    assert list(itertools.chain(*batches)) == [offset for offset in range(60) for _ in range(2)]
    assert max(len(batch) for batch in batches) == 16
    assert all(batch[-1] < later[0] for batch, later in itertools.pairwise(batches))


def test_only_the_asked_columns_come_back(log: Settings) -> None:
    (batch,) = read_log(log, "user_actions", 1, 0, 100, ["user_id"])
    assert batch.schema.names == ["user_id"]
    assert batch["user_id"].to_pylist() == ["user_1", "user_0"]


def test_the_ends_of_a_log_are_known_from_metadata(log: Settings) -> None:
    assert log_ends(log, "user_actions") == {0: (0, 1010), 1: (7, 9)}
    assert log_ends(log, "predictions") == {}


def test_a_snapshot_can_be_read_again_after_more_was_written(lake: Settings, actions: Rows) -> None:
    put_records(lake, "user_actions", actions(0, range(3)))
    pinned = snapshot(lake, "user_actions")
    put_records(lake, "user_actions", actions(2, [0]))
    assert len(read(lake, "user_actions")) == 4
    assert len(read(lake, "user_actions", snapshot_id=pinned)) == 3
    assert 2 not in log_ends(lake, "user_actions", pinned)
    assert list(read_log(lake, "user_actions", 2, 0, 1, snapshot_id=pinned)) == []
    assert snapshot(lake, "predictions") is None


def test_rows_are_filtered_limited_and_streamed(log: Settings) -> None:
    rows = read(log, "user_actions", ["topic_offset"], "topic_partition = 0 and topic_offset >= 1008")
    assert sorted(rows["topic_offset"].to_pylist()) == [1008, 1009]
    assert len(read(log, "user_actions", limit=5)) == 5
    assert sum(len(batch) for batch in read_batches(log, "user_actions", ["user_id"])) == 72


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"columns": ["nope"]}, "expected columns among topic_partition.*got 'nope'"),
        ({"where": "topic_offset >>> 3"}, 'expected a filter such as "score > 0.5", got'),
        ({"where": "nope = 3"}, 'expected a filter such as "score > 0.5", got'),
        ({"snapshot_id": 1}, "expected a snapshot among .*, got 1; take one that has not expired"),
    ],
)
def test_what_cannot_be_read_is_said(log: Settings, arguments: dict[str, object], says: str) -> None:
    with pytest.raises(LakehouseError, match=says):
        read(log, "user_actions", **arguments)  # type: ignore[arg-type]


_SPOILT = "expected a Parquet file that can be read, got: "


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda file: file.unlink(), "expected it where its table says, got none; bring it back"),
        (lambda file: file.write_bytes(file.read_bytes()[:-9]), f"{_SPOILT}.*magic bytes not found"),
        (lambda file: file.write_bytes(b""), f"{_SPOILT}.*size is 0 bytes.*; bring it back"),
        (lambda file: file.write_bytes(b"\0" * 4 + b"\xff" * 400 + file.read_bytes()[404:]), _SPOILT),
    ],
)
@pytest.mark.parametrize("how", ["whole", "piecewise", "by PyIceberg", "in batches", "with deletes"])
def test_a_data_file_that_cannot_be_read_is_named(
    lake: Settings, actions: Rows, how: str, spoil: Callable[[Path], None], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_records(lake, "user_actions", actions(0, [0, 3], random.Random(1).randbytes(1000)))
    put_records(lake, "user_actions", actions(0, [6]))
    file = max(lake.lake.own_warehouse.rglob("user_actions/data/*.parquet"), key=lambda file: file.stat().st_size)
    spoil(file)
    if how == "piecewise":
        monkeypatch.setattr(LogFiles, "open", lambda *_: None)
    if how == "with deletes":  # which PyIceberg reads, and does not write
        monkeypatch.setattr(lakehouse.read, "_parts", lambda plan, _, files, *rest: [_rows_of(plan, files, *rest)])
    ways: dict[str, Callable[[], object]] = {
        "by PyIceberg": lambda: read(lake, "user_actions"),
        "in batches": lambda: list(read_batches(lake, "user_actions")),
    }
    with pytest.raises(LakehouseError, match=f"data file {file.as_uri()}: {says}"):
        ways.get(how, lambda: offsets(lake, 0, 0, 10))()


def _rows_of(plan: LogPlan, files: list[tuple[int, FileScanTask]], partition: int, start: int, stop: int) -> pa.Table:
    inside = stretch(plan.by, partition, start, stop)
    return lakehouse.read._rows(plan, [task for _, task in files], inside)


def test_manifests_that_cannot_be_read_are_named_by_their_table(lake: Settings, actions: Rows) -> None:
    put_records(lake, "user_actions", actions(0, [0]))
    for manifest in lake.lake.own_warehouse.rglob("user_actions/metadata/*.avro"):
        manifest.write_bytes(manifest.read_bytes()[:100])
    with pytest.raises(
        LakehouseError, match=r"table \S*user_actions: expected its manifests as they were written, got .*; bring back file:"
    ):
        offsets(lake, 0, 0, 10)
