"""Feature values -> the tensor that a model eats. The only place where nulls and categories become numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from infra.errors import StreamhouseError
from models.manifest import Manifest

Column = NDArray[np.float64] | Sequence[str | None]


class InputMissing(StreamhouseError):
    """The caller does not hand over a column that the model needs: a fault of wiring, never of data."""


def build(manifest: Manifest, columns: Mapping[str, Column], n: int) -> NDArray[np.float32]:
    """(n, d) float32 in manifest order, from columns keyed by source (`user_activity:actions_10m`).

    Numbers come as (n,) float64, NaN for null; categories as n texts or None. Whole numbers below 2**24 stay exact.

    Raises:
        InputMissing: a column is not there, has not n rows, or holds texts for numbers or numbers for texts.

    """
    x = np.empty((len(manifest.inputs), n), np.float32)  # by column first: writing along memory is twice as fast
    for j, wanted in enumerate(manifest.inputs):
        column = columns.get(wanted.source)
        if column is None or len(column) != n or isinstance(column, np.ndarray) == (wanted.vocabulary is not None):
            raise InputMissing(_what_is_wrong(manifest, j, column, n))
        if isinstance(column, np.ndarray):
            x[j] = column
        else:
            get, default = _codes(wanted.vocabulary or ()).get, wanted.default
            x[j] = [get(word, default) for word in column]
    defaults = np.array([[wanted.default] for wanted in manifest.inputs], np.float32)
    np.copyto(x, defaults, where=np.isnan(x))
    return np.ascontiguousarray(x.T)


@lru_cache(maxsize=64)
def _codes(vocabulary: tuple[str, ...]) -> dict[str | None, float]:
    return {word: float(code) for code, word in enumerate(vocabulary)}


def _what_is_wrong(manifest: Manifest, j: int, column: Column | None, n: int) -> str:
    wanted = manifest.inputs[j]
    kind = "numbers as a float64 array" if wanted.vocabulary is None else "texts as a list"
    got = "no such column" if column is None else f"{len(column)} rows of {type(column).__name__}"
    return (
        f"model `{manifest.id}`, input `{wanted.name}`: expected {n} {kind} in column `{wanted.source}`, got {got}; "
        "correct the manifest's source or hand the column over"
    )
