"""Where two columns differ, to the bit."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def differing(one: pa.Array, other: pa.Array) -> list[int]:
    """Places at which two arrays of one type and length differ: null is no value, -0.0 is not 0.0, and NaN is itself."""
    if _same(one, other):
        return []
    if pa.types.is_nested(one.type):
        return [i for i, (old, new) in enumerate(zip(one.to_pylist(), other.to_pylist(), strict=True)) if repr(old) != repr(new)]
    unequal = pc.fill_null(pc.not_equal(_bits(one), _bits(other)), fill_value=False)
    one_is_null = pc.xor(pc.is_null(one), pc.is_null(other))
    found: list[int] = np.flatnonzero(pc.or_(unequal, one_is_null).to_numpy(zero_copy_only=False)).tolist()
    return found


def _same(one: pa.Array, other: pa.Array) -> bool:
    if pa.types.is_list(one.type):
        lengths = (pc.list_value_length(side) for side in (one, other))
        return bool(next(lengths).equals(next(lengths))) and _same(one.flatten(), other.flatten())
    return bool(_bits(one).equals(_bits(other)))


def _bits(array: pa.Array) -> pa.Array:
    """Floats as whole numbers."""
    if pa.types.is_float32(array.type):
        return array.view(pa.int32())
    return array.view(pa.int64()) if pa.types.is_float64(array.type) else array
