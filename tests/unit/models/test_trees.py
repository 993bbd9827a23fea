from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pytest
from numpy.typing import NDArray

from models.inputs import build
from models.scorer import Scorer, open_session
from models.training import PARAMETERS
from models.trees import to_onnx
from tests.unit.models.builders import a_dump, a_frame, a_manifest, a_split


def scored(dump: dict[str, Any], x: NDArray[np.float32]) -> NDArray[np.float32]:
    return Scorer(a_manifest(), open_session(a_manifest(), to_onnx(dump, x.shape[1]))).score(x)


def logistic(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))


@pytest.mark.parametrize("threshold", [0.1, 2.5, 3.0, 1.0000000180025095e-35, -1.0, 86_399.99999999999])
def test_the_two_float32_beside_a_float64_threshold_fall_on_their_own_sides(threshold: float) -> None:
    near = np.float32(threshold)
    x = np.array([np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))], np.float32)
    got = scored(a_dump(a_split(0, threshold, -1.0, 1.0)), x[:, None])
    expected = [logistic(-1.0 if float(value) <= threshold else 1.0) for value in x]
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_whole_numbers_take_the_branch_of_the_definition() -> None:
    x = np.arange(-1, 6, dtype=np.float32)[:, None]
    got = scored(a_dump(a_split(0, 2.5, a_split(0, 0.5, -2.0, 0.0), 2.0)), x)
    np.testing.assert_allclose(got, [logistic(v) for v in (-2, -2, 0, 0, 2, 2, 2)], atol=1e-6)


def test_trees_add_up_and_a_tree_may_be_a_single_leaf() -> None:
    got = scored(a_dump({"leaf_value": 0.25}, a_split(0, 0.5, -1.0, 1.0)), np.array([[0.0], [1.0]], np.float32))
    np.testing.assert_allclose(got, [logistic(-0.75), logistic(1.25)], atol=1e-6)


def test_lightgbm_and_onnx_agree_next_to_every_threshold() -> None:
    frame = a_frame(3000)
    sources = [source for source in frame.columns if source != "action:action"]
    x = np.column_stack([np.nan_to_num(np.asarray(frame.columns[source], np.float64)) for source in sources])
    booster = lightgbm.train(PARAMETERS, lightgbm.Dataset(x.astype(np.float32), frame.label), 30)
    dump = booster.dump_model()
    thresholds: list[tuple[int, float]] = []

    def visit(node: dict[str, Any]) -> None:
        if "threshold" in node:
            thresholds.append((node["split_feature"], node["threshold"]))
            visit(node["left_child"])
            visit(node["right_child"])

    for tree in dump["tree_info"]:
        visit(tree["tree_structure"])
    assert len(thresholds) > 50
    rows = []
    for feature, threshold in thresholds:
        near = np.float32(threshold)
        for value in (np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))):
            row = np.array([3.0, 1000.0], np.float32)
            row[feature] = value
            rows.append(row)
    beside = np.array(rows, np.float32)
    np.testing.assert_allclose(scored(dump, beside), booster.predict(beside), atol=2e-7)


def test_the_same_trees_give_the_same_bytes() -> None:
    assert to_onnx(a_dump(), 2) == to_onnx(a_dump(), 2)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"decision_type": "=="}, "expected splits by <= without missing values, got == with missing type None"),
        ({"missing_type": "NaN"}, "got <= with missing type NaN; train with use_missing=false"),
    ],
)
def test_splits_that_would_not_mean_the_same_are_refused(change: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        to_onnx(a_dump({**a_split(0, 0.5, 0.0, 1.0), **change}), 1)


def test_another_objective_is_refused() -> None:
    with pytest.raises(ValueError, match="expected the objective `binary sigmoid:1`, got `regression`"):
        to_onnx({**a_dump(), "objective": "regression"}, 2)


def test_the_builders_model_fits_its_manifest() -> None:
    x = build(a_manifest(), {"user_activity:actions_10m": np.array([0.0, 3.0]), "action:action": ["home", "purchase"]}, 2)
    np.testing.assert_allclose(scored(a_dump(), x), [logistic(-2.0), logistic(1.75)], atol=1e-6)
