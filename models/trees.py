"""LightGBM -> ONNX, so that a row's score is the same in LightGBM, in a batch of one and in a batch of thousands.

Thresholds, leaves and their sum stay float64: a float32 input compared with a float64 threshold takes LightGBM's own
branch, where rounded thresholds would not. The sum goes through the trees in LightGBM's order. Only then comes float32,
for the sigmoid: onnxruntime's float64 sigmoid rounds the last rows of a batch differently, its float32 one does not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.manifest import Domain

OPSET: dict[Domain, int] = {"ai.onnx": 17, "ai.onnx.ml": 5}
_IR_VERSION = 10
_SUM, _NO_TRANSFORM, _BRANCH_LEQ = 1, 0, 0


def to_onnx(dump: dict[str, Any], width: int) -> bytes:
    """A binary LightGBM model as ONNX: `features` (n, width) float32 -> `score` (n, 1) float32.

    `dump` is what `Booster.dump_model()` gives. The same dump gives the same bytes.

    Raises:
        ValueError: categorical splits, own handling of missing values, or no binary classifier with sigmoid 1.

    """
    if dump["objective"] != "binary sigmoid:1":
        message = f"expected the objective `binary sigmoid:1`, got `{dump['objective']}`"
        raise ValueError(message)
    trees = _Trees()
    roots = [trees.add(tree["tree_structure"]) for tree in dump["tree_info"]]
    ensemble = helper.make_node(
        "TreeEnsemble",
        ["wide"],
        ["sum"],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function=_SUM,
        post_transform=_NO_TRANSFORM,
        tree_roots=roots,
        nodes_modes=numpy_helper.from_array(np.full(len(trees.feature), _BRANCH_LEQ, np.uint8), "modes"),
        nodes_featureids=trees.feature,
        nodes_splits=numpy_helper.from_array(np.array(trees.threshold, np.float64), "splits"),
        nodes_truenodeids=trees.left,
        nodes_trueleafs=trees.left_is_leaf,
        nodes_falsenodeids=trees.right,
        nodes_falseleafs=trees.right_is_leaf,
        leaf_targetids=[0] * len(trees.leaf),
        leaf_weights=numpy_helper.from_array(np.array(trees.leaf, np.float64), "leaves"),
    )
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["features"], ["wide"], to=TensorProto.DOUBLE),
            ensemble,
            helper.make_node("Cast", ["sum"], ["logit"], to=TensorProto.FLOAT),
            helper.make_node("Sigmoid", ["logit"], ["score"]),
        ],
        "trees",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n", 1])],
    )
    opsets = [helper.make_opsetid("" if domain == "ai.onnx" else domain, version) for domain, version in OPSET.items()]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="streamhouse")
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


class _Trees:
    """Nodes and leaves of all trees, flat, as the operator wants them."""

    def __init__(self) -> None:
        self.feature: list[int] = []
        self.threshold: list[float] = []
        self.left: list[int] = []
        self.left_is_leaf: list[int] = []
        self.right: list[int] = []
        self.right_is_leaf: list[int] = []
        self.leaf: list[float] = []

    def add(self, node: dict[str, Any]) -> int:
        """Append one tree; the place of its root."""
        if "leaf_value" in node:  # a tree without a split: the operator has no root that is a leaf
            return self._branch({"split_feature": 0, "threshold": 0.0, "left_child": node, "right_child": node})
        return self._branch(node)

    def _branch(self, node: dict[str, Any]) -> int:
        if node.get("decision_type", "<=") != "<=" or node.get("missing_type", "None") != "None":
            found = f"{node.get('decision_type')} with missing type {node.get('missing_type')}"
            message = f"expected splits by <= without missing values, got {found}; train with use_missing=false"
            raise ValueError(message)
        place = len(self.feature)
        self.feature.append(node["split_feature"])
        self.threshold.append(node["threshold"])
        for side in (self.left, self.left_is_leaf, self.right, self.right_is_leaf):
            side.append(0)
        self.left[place], self.left_is_leaf[place] = self._child(node["left_child"])
        self.right[place], self.right_is_leaf[place] = self._child(node["right_child"])
        return place

    def _child(self, node: dict[str, Any]) -> tuple[int, int]:
        if "leaf_value" in node:
            self.leaf.append(node["leaf_value"])
            return len(self.leaf) - 1, 1
        return self._branch(node), 0
