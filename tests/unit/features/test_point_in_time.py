"""What decides between rows of equal times that have no place in a log, and what may be asked for at all."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from features.pinned import Pinned, TrainingSetRefused
from features.point_in_time import View, _value_tie

COLUMNS = {
    "text": pa.array(["a", "", None, "a\0b", "a"]),
    "number": pa.array([1, 2**60, None, 2**60 + 1, 1]),
    "real": pa.array([0.1, None, float("nan"), 0.2, 0.1]),
    "bytes": pa.array([b"x", b"\xff", None, b"", b"x"]),
    "list": pa.array([[1], [], None, [1, None], [1]]),
    "flag": pa.array([True, None, False, True, True]),
}


def test_it_is_a_rows_own_values_in_whatever_company() -> None:
    rows = pa.record_batch(COLUMNS)
    whole = _value_tie(rows, list(COLUMNS))
    alone = [int(_value_tie(rows.slice(i, 1), list(COLUMNS))[0]) for i in range(5)]
    assert whole.tolist() == alone
    assert whole[0] == whole[4]
    assert len(set(whole.tolist())) == 4


def test_each_column_counts_and_so_does_its_place() -> None:
    for name in COLUMNS:
        ties = _value_tie(pa.record_batch(COLUMNS), [name])
        assert len(set(ties.tolist())) == 4 - (name == "flag")
    one = pa.record_batch({"x": pa.array(["a"]), "y": pa.array(["b"])})
    assert not np.array_equal(_value_tie(one, ["x", "y"]), _value_tie(one, ["y", "x"]))


def test_a_feature_that_no_data_set_can_hold_is_refused_before_anything_is_read() -> None:
    types = {"user_id": pa.string(), "event_time": pa.timestamp("us", "UTC"), "one": pa.int64(), "other": pa.struct([("a", pa.int64())])}

    def view(*features: str) -> View:
        return View(Pinned("log", None, None, types), {"user_id": "user_id"}, "event_time", None, 0, {name: name for name in features}, ())

    view("one")
    with pytest.raises(TrainingSetRefused, match=r"table `log`, column other: expected numbers, .* got struct<a: int64>; ask for other"):
        view("one", "other")
