"""Sound topics beside a table that was tampered with: each planted corruption is found and named."""

from __future__ import annotations

import re
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from infra.config import Settings
from jobs.audit.run import audit
from lakehouse.catalog import load_table, open_catalog
from lakehouse.read import read
from tests.integration.audit.reports import found, kinds, with_value
from tests.lake import put_records, rewrite_records


def change(settings: Settings, table: str, edit: Callable[[pa.Table, int], pa.Table], further: int = 0) -> tuple[int, int]:
    """Rewrite a table with one edit at the row in its middle, or some rows further; answers the row's place."""
    rows = read(settings, table).sort_by([("topic_partition", "ascending"), ("topic_offset", "ascending")])
    at = len(rows) // 2 + further
    place = rows["topic_partition"][at].as_py(), rows["topic_offset"][at].as_py()
    rewrite_records(settings, table, lambda _: edit(rows, at))
    return place


@pytest.mark.parametrize("table", ["user_actions", "predictions"])
def test_a_dropped_row_is_found(lake: Settings, table: str) -> None:
    partition, offset = change(lake, table, lambda rows, at: pa.concat_tables([rows.slice(0, at), rows.slice(at + 1)]))
    report = audit(lake, settled=True)
    (finding,) = found(report, table, "dropped_row")
    assert (finding.partition, finding.offset) == (partition, offset)
    assert finding.sentence == f"table {table} lacks partition {partition}, offset {offset}, which topic {table.replace('_', '-')} holds"
    assert kinds(report).keys() == {(table, "dropped_row"), (table, "receipt_rewrite")}


def test_a_doubled_file_is_found(lake: Settings) -> None:
    with open_catalog(lake) as catalog:
        held = load_table(catalog, lake, "predictions")
        path = next(task.file.file_path for task in held.scan().plan_files())
        held.add_files([path], check_duplicate_files=False)
    report = audit(lake, settled=True)
    (finding,) = found(report, "predictions", "file_twice")
    assert path in finding.sentence
    doubled = {("predictions", kind) for kind in ("file_twice", "row_twice", "receipt_overlap")}
    assert doubled <= kinds(report).keys() <= doubled | {("predictions", "receipt_sparse")}


def test_a_data_file_that_is_gone_or_cut_is_named_with_its_rows_and_the_rest_is_audited(lake: Settings) -> None:
    gone, cut = sorted((lake.lake.own_warehouse / "streamhouse" / "predictions").rglob("*.parquet"))[:2]
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:-9])
    report = audit(lake, settled=True)
    sentences = [finding.sentence for finding in found(report, "predictions", "file_unreadable")]
    for file, why, sentence in zip((gone, cut), ("and it is gone:", "and it is no whole Parquet file"), sentences, strict=True):
        assert file.as_uri() in sentence
        assert why in sentence
    lost = sum(int(re.findall(r" (\d+) rows", one)[0]) for one in sentences)
    assert lost == kinds(report)["predictions", "dropped_row"] > 0
    other = {kind for where, kind in kinds(report) if where == "predictions"} - {"file_unreadable", "dropped_row"}
    assert other <= {"receipt_not_as_rows", "receipts_not_as_rows"}
    assert {where for where, _ in kinds(report)} == {"predictions"}


def test_rows_of_a_partition_that_the_topic_has_not_are_named(lake: Settings) -> None:
    one = read(lake, "user_actions").slice(0, 1)
    for partition, offset in ((8, 0), (9, 5)):
        put_records(lake, "user_actions", with_value(with_value(one, "topic_partition", 0, partition), "topic_offset", 0, offset))
    report = audit(lake, settled=True)
    strangers = [(one.partition, one.offset) for one in found(report, "user_actions", "row_without_record")]
    assert strangers == [(8, 0), (9, 5)]


def test_a_swapped_offset_is_found(lake: Settings) -> None:
    def swapped(rows: pa.Table, at: int) -> pa.Table:
        assert rows["topic_partition"][at - 1] == rows["topic_partition"][at]
        one, other = rows["topic_offset"][at - 1].as_py(), rows["topic_offset"][at].as_py()
        return with_value(with_value(rows, "topic_offset", at - 1, other), "topic_offset", at, one)

    partition, offset = change(lake, "predictions", swapped)
    report = audit(lake, settled=True)
    assert kinds(report) == {("predictions", "swapped_offset"): 2}
    _, finding = found(report, "predictions", "swapped_offset")
    assert (finding.partition, finding.offset) == (partition, offset)
    assert "expected the record of that offset, got the one of offset" in finding.sentence


def test_each_changed_column_is_found_and_nothing_else(lake: Settings) -> None:
    planted: list[tuple[str, str, object]] = [
        ("predictions", "score", 0.123),
        ("predictions", "action_offset", 3),
        ("predictions", "value", b"{}"),
        ("predictions", "key", b"nobody"),
        ("predictions", "features", [1.0]),
        ("user_actions", "headers", [("trace", b"forged")]),
        ("user_actions", "user_id", None),
        ("user_actions", "kafka_time", 1_704_067_200_000_000),
        ("user_actions_dlq", "source_offset", 1),
    ]
    expected = []
    for number, (table, column, value) in enumerate(planted):

        def changed(rows: pa.Table, at: int, column: str = column, value: object = value) -> pa.Table:
            return with_value(rows, column, at, value)

        place = change(lake, table, changed, further=0 if table == "user_actions_dlq" else number)
        expected.append((table, f"changed_{column}", *place))
    report = audit(lake, settled=True)
    assert sorted((one.where, one.kind, one.partition, one.offset) for one in report.findings.kept) == sorted(expected)
    assert report.findings.total == len(expected)


def test_rows_without_a_committed_record_are_found(lake: Settings) -> None:
    rows = read(lake, "user_actions")
    forged = rows.filter(pc.equal(rows["topic_partition"], 1)).slice(0, 2)
    offsets = pa.array([0, 10**6], pa.int64())  # offset 0 of each partition belongs to an aborted transaction
    put_records(lake, "user_actions", forged.set_column(rows.column_names.index("topic_offset"), "topic_offset", offsets))
    report = audit(lake, settled=True)
    aborted, beyond = found(report, "user_actions", "row_without_record")
    assert aborted.sentence.startswith("table user_actions holds a row at partition 1, offset 0, where topic user-actions has")
    assert aborted.sentence.endswith("the record of an aborted transaction")
    assert beyond.offset == 10**6
