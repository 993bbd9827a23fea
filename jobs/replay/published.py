"""Predictions as they were published, in columns, each by the action that it answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs.published_models import Identity
from lakehouse.python_values import python_values

COLUMNS = (
    "action_partition",
    "action_offset",
    "action_id",
    "user_id",
    "score",
    "decision",
    "model_name",
    "model_version",
    "model_sha256",
    "features",
)
"""Of the table predictions, what `Published` needs."""


@dataclass(frozen=True)
class Published:
    """m predictions, ascending by `offset` (m,) of the action that they answer.

    `score` (m,) float32, NaN where the value says none; `model` (m,) places in `models`; `features` lists of float32.
    """

    offset: NDArray[np.int64]
    action_id: list[str]
    user_id: list[str]
    score: NDArray[np.float32]
    decision: NDArray[np.bool_]
    models: list[Identity]
    model: NDArray[np.int64]
    features: pa.ListArray

    def by_model(self, chosen: NDArray[np.int64]) -> Iterator[tuple[Identity, NDArray[np.int64]]]:
        """Those of the chosen that name the same model, in turn."""
        for number, identity in enumerate(self.models):
            at = chosen[self.model[chosen] == number]
            if len(at):
                yield identity, at

    def inputs(self, at: NDArray[np.int64], width: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """(k, width) float32 features, and (k,) whether there are as many as the model takes; other rows are zeros."""
        lists = self.features if len(at) == len(self.features) else self.features.take(pa.array(at))
        values, lengths = lists.flatten(), pc.list_value_length(lists).fill_null(0).to_numpy()
        if values.null_count == 0 and (lengths == width).all():
            return np.ascontiguousarray(values.to_numpy().reshape(len(at), width), np.float32), np.ones(len(at), bool)
        x, usable = np.zeros((len(at), width), np.float32), np.zeros(len(at), bool)
        for i, row in enumerate(lists.to_pylist()):
            if row is not None and len(row) == width and None not in row:
                x[i], usable[i] = row, True
        return x, usable


def published(rows: pa.Table) -> Published:
    """Rows of the table predictions with `COLUMNS`, ascending by action offset."""
    texts = [_whole(rows[name], pa.string()) for name in ("model_name", "model_version", "model_sha256")]
    models = pc.binary_join_element_wise(*texts, "\0").dictionary_encode()
    identities = [tuple(text.split("\0")) for text in models.dictionary.to_pylist()]
    return Published(
        rows["action_offset"].to_numpy(),
        python_values(rows["action_id"]),
        python_values(rows["user_id"]),
        rows["score"].to_numpy(),
        rows["decision"].to_numpy().astype(bool),
        [(name, version, sha256) for name, version, sha256 in identities],
        models.indices.to_numpy().astype(np.int64),
        _whole(rows["features"], pa.list_(pa.float32())),
    )


def _whole(column: pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    """One array of the type, whatever types and chunks the table's files came in."""
    return pa.concat_arrays([pa.array([], kind), *column.cast(kind).chunks])
