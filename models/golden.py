"""Golden rows: a few inputs with the scores that the model gave when it was published, asked again at each load.

They catch what a hash cannot: a manifest whose inputs changed order, and a runtime that computes something else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.inputs import Column, InputMissing, build
from models.manifest import Manifest, ModelRefused

FILE = "golden.json"
TOLERANCE = 1e-6
"""Scores equal to the bit on one machine; processors of another kind may round the last digit differently."""

Score = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Columns by source, each with as many values as there are scores; null where a value is not known."""

    columns: dict[str, list[float | str | None]]
    scores: list[float]


def check_golden(manifest: Manifest, folder: Path, score: Score) -> None:
    """Score the golden rows of `folder` and compare.

    Raises:
        ModelRefused: no golden rows, not readable, or a score that differs by more than TOLERANCE.

    """
    thing, again = manifest.thing, "publish the model again with `python -m jobs.train_model`"
    try:
        golden = msgspec.json.decode((folder / FILE).read_bytes(), type=Golden)
        got = score(build(manifest, as_columns(manifest, golden), len(golden.scores)))
    except FileNotFoundError as error:
        raise ModelRefused(thing, f"expected {FILE} in `{folder}`, found none", again) from error
    except msgspec.DecodeError as error:
        raise ModelRefused(thing, f"{FILE} is not readable ({error})", again) from error
    except InputMissing as error:
        raise ModelRefused(thing, f"{FILE} does not fit the manifest ({error})", again) from error
    if not golden.scores:
        raise ModelRefused(thing, f"{FILE} holds no rows", again)
    wrong = np.flatnonzero(~(np.abs(got - np.array(golden.scores)) <= TOLERANCE))
    if len(wrong):
        row = int(wrong[0])
        fault = f"golden row {row} must score {golden.scores[row]}, got {float(got[row])}"
        raise ModelRefused(thing, f"{fault}: manifest or model file were changed after publishing", again)


def as_columns(manifest: Manifest, golden: Golden) -> Mapping[str, Column]:
    """The golden rows as `models.inputs.build` takes them."""
    texts = {column.source for column in manifest.inputs if column.vocabulary is not None}
    return {
        source: [None if v is None else str(v) for v in values]
        if source in texts
        else np.array([np.nan if v is None else v for v in values], np.float64)
        for source, values in golden.columns.items()
    }
