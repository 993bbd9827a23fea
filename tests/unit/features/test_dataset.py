"""A data-set's hash: what changes it and what does not."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from features.dataset import SHA256, SNAPSHOTS, dataset_hash, has_a_hash, stamped

NOON = dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)
COLUMNS: dict[str, pa.Array] = {
    "user_id": pa.array(["a", "", None, "ab"]),
    "at": pa.array([NOON, None, NOON, NOON], pa.timestamp("us", "UTC")),
    "count": pa.array([1, None, 0, 2**60]),
    "seconds": pa.array([0.1, None, float("nan"), -1.0]),
    "flag": pa.array([True, False, None, True]),
    "bytes": pa.array([b"x", None, b"", b"\xff"]),
    "list": pa.array([[1.0], [], None, [2.0, None]], pa.list_(pa.float32())),
    "day": pa.array([NOON.date(), None, None, NOON.date()]),
    "money": pa.array([Decimal("1.50"), None, None, Decimal("2.00")]),
    "none": pa.nulls(4),
}


def test_chunks_slices_and_what_lies_under_nulls_do_not_change_it() -> None:
    table = pa.table(COLUMNS)
    wanted = dataset_hash(table)
    assert dataset_hash(pa.concat_tables([table.slice(0, 1), table.slice(1, 2), table.slice(3)])) == wanted
    assert dataset_hash(pa.concat_tables([table, table]).slice(4)) == wanted
    under = pa.array([7.0, 99.0], mask=pa.array([False, True]).to_numpy(zero_copy_only=False))
    assert dataset_hash(pa.table({"x": under})) == dataset_hash(pa.table({"x": pa.array([7.0, None])}))


def test_ways_to_hold_the_same_values_do_not_change_it() -> None:
    plain = pa.table({"x": pa.array(["a", None, "b"])})
    for other in (pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        assert dataset_hash(pa.table({"x": plain["x"].cast(other)})) == dataset_hash(plain)
    assert dataset_hash(plain.replace_schema_metadata({"said": "something"})) == dataset_hash(plain)


def test_rows_past_one_step_count() -> None:
    many = pa.table({"x": pa.array(range(200_000))})
    changed = pa.table({"x": pa.array([*range(199_999), 0])})
    assert dataset_hash(many) != dataset_hash(changed)
    assert dataset_hash(many) == dataset_hash(pa.concat_tables([many.slice(0, 70_001), many.slice(70_001)]))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"x": pa.array([1, 2])}, {"x": pa.array([2, 1])}),
        ({"x": pa.array([1, 2])}, {"y": pa.array([1, 2])}),
        ({"x": pa.array([1, 2])}, {"x": pa.array([1, 2], pa.int32())}),
        ({"x": pa.array([0, 2])}, {"x": pa.array([None, 2])}),
        ({"x": pa.array(["a", "bc"])}, {"x": pa.array(["ab", "c"])}),
        ({"x": pa.array(["", None])}, {"x": pa.array([None, ""])}),
        ({"x": pa.array([[1], [2, 3]])}, {"x": pa.array([[1, 2], [3]])}),
        ({"x": pa.array([1]), "y": pa.array([2])}, {"y": pa.array([2]), "x": pa.array([1])}),
        ({"x": pa.array([NOON])}, {"x": pa.array([NOON + dt.timedelta(microseconds=1)])}),
        ({"x": pa.nulls(1)}, {"x": pa.nulls(2)}),
    ],
)
def test_what_differs_has_another(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert dataset_hash(pa.table(one)) != dataset_hash(pa.table(other))


def test_a_type_that_no_feature_has_is_refused() -> None:
    with pytest.raises(TypeError, match=r"a data-set column of type map<.*leave it out or cast it"):
        dataset_hash(pa.table({"x": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))}))


def test_which_types_have_a_hash_is_told_before() -> None:
    held = [*(column.type for column in COLUMNS.values()), pa.large_string(), pa.dictionary(pa.int8(), pa.binary()), pa.time64("ns")]
    assert all(has_a_hash(of) and has_a_hash(pa.large_list(of)) for of in held)
    others = [pa.map_(pa.string(), pa.int64()), pa.struct([("a", pa.int64())]), pa.string_view(), pa.binary(3), pa.list_(pa.int8(), 2)]
    for of in others:
        assert not has_a_hash(of)
        assert not has_a_hash(pa.list_(of))
        with pytest.raises(TypeError, match="leave it out or cast it"):
            dataset_hash(pa.table({"x": pa.nulls(1, of)}))


def test_the_stamp_stands_in_the_schema_and_is_not_part_of_the_hash() -> None:
    table = stamped(pa.table(COLUMNS), {"feature_log": 7, "user_profiles": None})
    assert table.schema.metadata[SHA256.encode()].decode() == dataset_hash(table) == dataset_hash(pa.table(COLUMNS))
    assert json.loads(table.schema.metadata[SNAPSHOTS.encode()]) == {"feature_log": 7, "user_profiles": None}


def test_it_is_the_same_in_every_process_and_release() -> None:
    assert dataset_hash(pa.table(COLUMNS)) == "fb6e97cc27a4b17916a24b4a645b625e6a17f4d2c3e6a9736427a4e808da674f"
