"""Golden rows: a few inputs with the scores that the model gave when it was published, asked again at each load.

They catch what a hash cannot: a manifest whose inputs changed order, and a runtime that computes something else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.inputs import Column, InputMissing, build
from models.manifest import Manifest, ModelRefused

FILE = "golden.json"
ROWS = 16
"""How many are recorded."""

LARGEST = 16 * 1024 * 1024
"""Bytes in a file of golden rows."""

TOLERANCE = 1e-6
"""Scores equal to the bit on one machine; processors of another kind may round the last digit differently."""

_AGAIN = "publish the model again with `./streamhouse train` or `./streamhouse publish`"

Score = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Columns by source, each with as many values as there are scores; null where a value is not known.

    Without scores they are rows that are still to be scored, which only a folder that is being published may hold.
    """

    columns: dict[str, list[float | str | None]]
    scores: list[float]


def check_golden(manifest: Manifest, folder: Path, score: Score) -> None:
    """Score the golden rows of `folder` and compare.

    Raises:
        ModelRefused: no golden rows, not readable, or a score that differs by more than TOLERANCE, or than the manifest's own.

    """
    golden = read_golden(manifest, folder)
    got = score(tensor(manifest, golden, len(golden.scores)))
    if not golden.scores:
        raise ModelRefused(manifest.thing, f"{FILE} holds no rows", _AGAIN)
    wrong = np.flatnonzero(~(np.abs(got - np.array(golden.scores)) <= max(TOLERANCE, manifest.tolerance or 0.0)))
    if len(wrong):
        row = int(wrong[0])
        fault = f"golden row {row} must score {golden.scores[row]}, got {float(got[row])}"
        raise ModelRefused(manifest.thing, f"{fault}: manifest or model file were changed after publishing", _AGAIN)


def read_golden(manifest: Manifest, folder: Path) -> Golden:
    """The golden rows of `folder`, not asked yet.

    Raises:
        ModelRefused: no such file, too large, or not readable.

    """
    path = folder / FILE
    if not path.is_file():
        raise ModelRefused(manifest.thing, f"expected {FILE} in `{folder}`, found none", _AGAIN)
    with path.open("rb") as file:
        text = file.read(LARGEST + 1)
    if len(text) > LARGEST:
        raise ModelRefused(manifest.thing, f"{FILE} is larger than {LARGEST} bytes", "bring fewer golden rows")
    try:
        return msgspec.json.decode(text, type=Golden)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelRefused(manifest.thing, f"{FILE} is not readable ({error})", _AGAIN) from error


def write_golden(golden: Golden) -> bytes:
    """The text that `read_golden` reads back to an equal value."""
    return msgspec.json.format(msgspec.json.encode(golden), indent=1)


def tensor(manifest: Manifest, golden: Golden, n: int) -> NDArray[np.float32]:
    """The `n` golden rows (n, d) as the model eats them.

    Raises:
        ModelRefused: they have no such columns, other words than numbers, or another number of rows.

    """
    try:
        return build(manifest, as_columns(manifest, golden), n)
    except (InputMissing, ValueError) as error:
        raise ModelRefused(manifest.thing, f"{FILE} does not fit the manifest ({error})", _AGAIN) from error


def spread(n: int, rows: int = ROWS) -> list[int]:
    """Places of up to `rows` rows from the first to the last of `n`."""
    return [int(place) for place in np.linspace(0, n - 1, min(rows, n)).astype(int)]


def as_lists(columns: Mapping[str, Column], places: Sequence[int]) -> dict[str, list[float | str | None]]:
    """The rows at `places` as `Golden.columns` holds them."""
    lists: dict[str, list[float | str | None]] = {}
    for source, column in columns.items():
        if isinstance(column, np.ndarray):
            lists[source] = [None if np.isnan(column[i]) else float(column[i]) for i in places]
        else:
            lists[source] = [column[i] for i in places]
    return lists


def as_columns(manifest: Manifest, golden: Golden) -> Mapping[str, Column]:
    """The golden rows as `models.inputs.build` takes them."""
    texts = {column.source for column in manifest.inputs if column.vocabulary is not None}
    return {
        source: [None if v is None else str(v) for v in values]
        if source in texts
        else np.array([np.nan if v is None else v for v in values], np.float64)
        for source, values in golden.columns.items()
    }
