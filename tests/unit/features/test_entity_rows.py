"""Keys of entity rows as numbers: equal where the keys are, whatever their columns hold."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.entity_rows import NO_TIME, EntityRows, Keys, entity_rows, microseconds, moment
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


FIRST, LAST = -62_135_596_800, 253_402_300_799  # seconds; the first of the year 1 and the last of 9999


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
def test_times_of_the_years_1_to_9999_are_taken_and_no_others(unit: str) -> None:
    per_second = {"s": 1, "ms": 10**3, "us": 10**6}[unit]

    def rows(*ticks: int | None) -> EntityRows:
        return entity_rows(pa.table({"event_timestamp": pa.array(ticks, pa.timestamp(unit, "UTC"))}))

    first, last = FIRST * per_second, (LAST + 1) * per_second - 1
    held = rows(first, None, last)
    assert held.between is not None
    assert [moment(time).year for time in held.between] == [1, 9999]
    for ticks in (first - 1, last + 1, 2**60, 2**63 - 1, -(2**63)):
        says = f"column event_timestamp: expected times of the years 1 to 9999, got {ticks} {unit} since 1970 in row 1; correct it or leave"
        with pytest.raises(TrainingSetRefused, match=says):
            rows(0, ticks, None)


TIME = pa.array([0], pa.timestamp("us", "UTC"))


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (
            {"event_timestamp": TIME.cast(pa.timestamp("us", "Mars/Phobos"))},
            "event_timestamp: .* zone, got 'Mars/Phobos'; cast it",
        ),
        (
            {"event_timestamp": TIME, "at": pa.array([[0]], pa.list_(pa.timestamp("s", "Mars/Phobos")))},
            "at: expected times of a known zone",
        ),
        (
            {"event_timestamp": TIME, "of": pa.array([{"a": 1}])},
            "of: expected numbers, .* got struct<a: int64>; leave it out",
        ),
        ({"event_timestamp": TIME, "of": pa.array([[[("a", 1)]]], pa.list_(pa.map_(pa.string(), pa.int64())))}, "of: .* got list<"),
    ],
)
def test_a_column_that_no_data_set_can_hold_is_refused_before_anything_is_read(columns: dict[str, pa.Array], says: str) -> None:
    with pytest.raises(TrainingSetRefused, match=f"entity_df, column {says}"):
        entity_rows(pa.table(columns))


def test_a_name_that_stands_there_twice_is_refused() -> None:
    frame = pd.DataFrame([["a", 1, 2, pd.Timestamp(0, tz="UTC")]], columns=["user_id", "label", "label", "event_timestamp"])
    arrow = pa.table([pa.array(["a"]), pa.array(["a"]), TIME], names=["user_id", "user_id", "event_timestamp"])
    for held, name in ((frame, "label"), (arrow, "user_id"), (frame.set_axis(["user_id", 1, "1", "event_timestamp"], axis=1), "1")):
        with pytest.raises(TrainingSetRefused, match=f"entity_df: expected each column once, got '{name}' more than once; rename or drop"):
            entity_rows(held)


def test_a_text_that_utf_8_cannot_write_is_refused_and_shown() -> None:
    frame = pd.DataFrame({"event_timestamp": [pd.Timestamp(0, tz="UTC")], "of": ["a"], "user_id": ["u\ud800"]})
    says = r"entity_df, column 'user_id': expected texts that UTF-8 can write, got 'u\\ud800'; correct it"
    with pytest.raises(TrainingSetRefused, match=says):
        entity_rows(frame)
    with pytest.raises(TrainingSetRefused, match=r"column '\\ud800': expected texts that UTF-8 can write"):
        entity_rows(frame.rename(columns={"of": "\ud800"}))
