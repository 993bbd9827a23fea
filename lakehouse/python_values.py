"""Texts and bytes of an Arrow column as Python's own."""

from __future__ import annotations

from typing import Any

import pyarrow as pa


def python_values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """A column of texts or bytes as `to_pylist` gives it, None for null; that makes an Arrow scalar of each value first, this does not."""
    return list(column.to_numpy(zero_copy_only=False).tolist())
