"""Rows to try a model on, drawn from a seed, and what its scores on them must be like. Pure."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.inputs import Column, build
from models.manifest import Manifest, ModelInput, ModelRefused

ROWS = 1031
"""A prime: no size of batch divides it, so each has a smaller last one."""

SEED = 1
SIZES = (1, 2, 7, 64)
"""Sizes of batches that must agree with all rows at once."""

LARGE = (24_001, 20_000, 2_000)
"""Sizes that must agree with these in their turn: what a replay asks for at once, what the job does, and before them so many that
one number for each two rows no longer fits into the memory of a trial.
"""

_SPECIAL = (np.nan, 0.0, 1.0, 2.0**24, 1e9)
"""Null, nothing, one, the largest float32 that counts exactly, and more than any count or number of seconds will be."""

_UNKNOWN = "a word of no vocabulary"


Scored = tuple[int, NDArray[np.float32]]
"""A size of batches, and the scores that rows got in them."""


class Tried(Protocol):
    """What is tried: a scorer whose `ask` refuses by itself what gives no scores."""

    @property
    def manifest(self) -> Manifest: ...  # noqa: D102

    def ask(self, x: NDArray[np.float32]) -> NDArray[np.float32]: ...  # noqa: D102


def plausible_columns(manifest: Manifest, n: int = ROWS, seed: int = SEED) -> dict[str, Column]:
    """Draw n rows by source, as `models.inputs.build` takes them.

    The first rows are special ones throughout: all null, all zero and so on to all large. After them counts, seconds and words, with
    a special value here and there.
    """
    random = np.random.default_rng(seed)
    columns: dict[str, Column] = {}
    for wanted in manifest.inputs:
        if wanted.source not in columns:
            columns[wanted.source] = _numbers(wanted, n, random) if wanted.vocabulary is None else _words(wanted.vocabulary, n, random)
    return columns


def check_scores(tried: Tried) -> None:
    """Score plausible rows: each score finite and between 0 and 1, and the same whatever rows, and however many, stand beside it.

    Raises:
        ModelRefused: one sentence on the first row that is not so.

    """
    manifest = tried.manifest
    x = build(manifest, plausible_columns(manifest), ROWS)
    together = tried.ask(x)
    check_probabilities(manifest, together, "trial row")
    for size in SIZES:
        apart = np.concatenate([tried.ask(x[i : i + size]) for i in range(0, ROWS, size)])
        _check_agreement(manifest, np.arange(ROWS), (size, apart), (ROWS, together))
    # the same rows drawn again and again: what each must score is known, so that a large batch costs one call
    drawn = np.random.default_rng(SEED).integers(0, ROWS, max(LARGE))
    for size in LARGE:
        rows = drawn[:size]
        _check_agreement(manifest, rows, (ROWS, together[rows]), (size, tried.ask(x[rows])))


def check_probabilities(manifest: Manifest, scores: NDArray[np.float32], row: str) -> None:
    """Refuse scores (n,) of which one is no probability; `row` says what is counted.

    Raises:
        ModelRefused: NaN, or below 0, or above 1.

    """
    wrong = np.flatnonzero(~((scores >= 0) & (scores <= 1)))
    if len(wrong):
        fault = f"{row} {wrong[0]} must score between 0 and 1, got {scores[wrong[0]]!s}"
        raise ModelRefused(manifest.thing, fault, "export it with a probability as its output, also for nulls, zeros and large values")


def _check_agreement(manifest: Manifest, rows: NDArray[np.int64], one: Scored, other: Scored) -> None:
    """Refuse a model whose scores of the same `rows` differ between two sizes of batches."""
    moved = np.flatnonzero(~manifest.agrees(one[1], other[1]))
    if len(moved):
        at = int(moved[0])
        allowed = "the same to the bit" if manifest.tolerance is None else f"no more than {manifest.tolerance} apart"
        got = f"got {one[1][at]!s} and {other[1][at]!s}"
        fault = f"trial row {rows[at]} must score {allowed} in batches of {one[0]} and of {other[0]}, {got}"
        remedy = "export it without what mixes rows, or state `batch_invariant: false` and a larger `tolerance` in its manifest"
        raise ModelRefused(manifest.thing, fault, remedy)


def _numbers(wanted: ModelInput, n: int, random: np.random.Generator) -> NDArray[np.float64]:
    if wanted.name.startswith("seconds_"):
        values = np.round(random.exponential(10.0 ** random.uniform(0, 7, n)), 3)
    else:
        values = random.poisson(10.0 ** random.uniform(-1, 3, n)).astype(np.float64)
    special = random.choice(_SPECIAL, n)
    values = np.where(random.random(n) < 0.1, special, values)
    throughout = min(n, len(_SPECIAL))
    values[:throughout] = _SPECIAL[:throughout]
    return values


def _words(vocabulary: tuple[str, ...], n: int, random: np.random.Generator) -> list[str | None]:
    words: list[str | None] = [*vocabulary, _UNKNOWN, None]
    return [None, *(words[i] for i in random.integers(0, len(words), n - 1))]
