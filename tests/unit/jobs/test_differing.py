"""Columns differ where a bit, a value or a null does."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from jobs.differing import differing

NAN = float("nan")


@pytest.mark.parametrize(
    ("kind", "one", "other", "places"),
    [
        (pa.int64(), [1, None, 3, None], [1, None, 4, 0], [2, 3]),
        (pa.string(), ["a", None, ""], ["a", "", None], [1, 2]),
        (pa.float32(), [0.0, NAN, 1.5, None], [-0.0, NAN, 1.5, 0.0], [0, 3]),
        (pa.float64(), [0.0, NAN, 1.5, None], [-0.0, NAN, 1.5, 0.0], [0, 3]),
        (pa.list_(pa.float32()), [[0.0, 1.0], [], None, [None]], [[-0.0, 1.0], None, None, [0.0]], [0, 1, 3]),
        (pa.list_(pa.float32()), [[1.0], [2.0, 3.0]], [[1.0, 2.0], [3.0]], [0, 1]),
        (pa.list_(pa.string()), [["a", "b"], ["c"]], [["a", "b"], ["d"]], [1]),
        (pa.large_binary(), [b"a", None], [b"a", b""], [1]),
        (pa.int64(), [], [], []),
    ],
)
def test_each_place_is_told(kind: pa.DataType, one: list[Any], other: list[Any], places: list[int]) -> None:
    assert differing(pa.array(one, kind), pa.array(other, kind)) == places
    assert differing(pa.array(one, kind), pa.array(one, kind)) == []
    padded = [pa.array([*side[:1], *side], kind)[len(side[:1]) :] for side in (one, other)]  # a slice
    assert differing(*padded) == places
