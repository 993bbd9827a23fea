from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.inputs import InputMissing, build
from tests.unit.models.builders import a_manifest

COUNTS, WORDS = "user_activity:actions_10m", "action:action"


def test_nulls_and_unknown_categories_become_the_declared_defaults() -> None:
    columns: dict[str, Any] = {COUNTS: np.array([2.0, np.nan, 0.0]), WORDS: ["purchase", None, "never heard of"]}
    x = build(a_manifest(), columns, 3)
    assert x.tolist() == [[2.0, 2.0], [0.0, -1.0], [0.0, -1.0]]
    assert x.dtype == np.float32
    assert x.flags.c_contiguous


def test_columns_stand_in_manifest_order_whatever_the_order_of_the_dictionary() -> None:
    inputs = tuple(reversed(a_manifest().inputs))
    columns: dict[str, Any] = {COUNTS: np.array([7.0]), WORDS: ["cart"], "user_activity:not_asked_for": np.array([1.0])}
    assert build(a_manifest(inputs=inputs), columns, 1).tolist() == [[1.0, 7.0]]


def test_whole_numbers_are_exact() -> None:
    numbers = np.array([0, 1, 2**24 - 1, 2**24], np.float64)
    x = build(a_manifest(), {COUNTS: numbers, WORDS: [None] * 4}, 4)
    assert x[:, 0].astype(np.float64).tolist() == numbers.tolist()


def test_no_rows_give_an_empty_tensor() -> None:
    assert build(a_manifest(), {COUNTS: np.array([]), WORDS: []}, 0).shape == (0, 2)


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (
            {COUNTS: np.zeros(2)},
            "input `action`: expected 2 texts as a list in column `action:action`, got no such column",
        ),
        ({COUNTS: np.zeros(3), WORDS: [None] * 2}, "input `actions_10m`: expected 2 numbers as a float64 array"),
        ({COUNTS: ["1", "2"], WORDS: [None] * 2}, "got 2 rows of list"),
        ({COUNTS: np.zeros(2), WORDS: np.zeros(2)}, "got 2 rows of ndarray"),
    ],
)
def test_a_column_that_is_missing_or_misshapen_is_named(columns: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputMissing) as fault:
        build(a_manifest(), columns, 2)
    assert sentence in str(fault.value)
    assert "model `buys@1`" in str(fault.value)
