"""Keys of entity rows as numbers: equal where the keys are, whatever their columns hold."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.entity_rows import NO_TIME, Keys, entity_rows, microseconds
from features.pinned import TrainingSetRefused

TYPES = (pa.string(), pa.int64(), pa.int32())
KEYS = st.lists(st.tuples(st.sampled_from(["a", "b", "", "ü", None]), st.sampled_from([0, 1, 2**62, None]), st.sampled_from([-1, 5, None])))


def columns(keys: Sequence[tuple[object, ...]], width: int) -> list[pa.Array]:
    return [pa.array([key[i] for key in keys], TYPES[i]) for i in range(width)]


@given(KEYS, KEYS, st.integers(1, 3))
def test_a_key_of_any_width_has_the_number_of_its_equals_only(
    asked: list[tuple[object, ...]], held: list[tuple[object, ...]], width: int
) -> None:
    keys = Keys(["x", "y", "z"][:width], [pa.chunked_array([c], c.type) for c in columns(asked, width)], TYPES[:width])
    number: dict[tuple[object, ...], int] = {}
    for key, code in zip(asked, keys.of_rows.tolist(), strict=True):
        whole = key[:width]
        assert (code < 0) == (None in whole)
        if code >= 0:
            assert number.setdefault(whole, code) == code
    assert len(set(number.values())) == len(number)
    assert keys(columns(held, width)).tolist() == [number.get(key[:width], -1) for key in held]


def test_a_column_is_taken_in_the_type_of_the_table_or_refused() -> None:
    keys = Keys(["shop"], [pa.chunked_array([pa.array([1.0, None, 2.0])])], [pa.int64()])
    assert keys([pa.array([2, 1, 3], pa.int64())]).tolist() == [1, 0, -1]
    with pytest.raises(TrainingSetRefused, match=r"entity_df, column shop: expected int64 as in the table, got string: .*; convert it"):
        Keys(["shop"], [pa.chunked_array([pa.array(["one"])])], [pa.int64()])


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_every_unit_are_microseconds_and_never_rounded_up(unit: str) -> None:
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    ticks = pa.array([1_700_000_000 * per_second, -5 * per_second, None], pa.int64()).cast(pa.timestamp(unit))
    rows = entity_rows(pa.table({"event_timestamp": ticks}))
    assert rows.time.tolist() == [1_700_000_000 * 10**6, -5 * 10**6, NO_TIME]
    if unit == "ns":
        fine = pa.array([1999, -1], pa.int64()).cast(pa.timestamp("ns"))
        assert entity_rows(pa.table({"event_timestamp": fine})).time.tolist() == [1, -1]
    assert microseconds(pa.array([None], pa.timestamp("us", "UTC")), 7).tolist() == [7]
