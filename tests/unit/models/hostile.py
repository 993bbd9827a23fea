"""Models that do harm or tell lies, each made of operators that are allowed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Edit = Callable[[onnx.ModelProto], object]
node = helper.make_node


def before_the_sigmoid(*nodes: onnx.NodeProto, **constants: NDArray[Any]) -> Edit:
    """These nodes between `logit` (n, 1) and the sigmoid, which takes their `changed`."""

    def edit(model: onnx.ModelProto) -> None:
        sigmoid = model.graph.node.pop()
        sigmoid.input[0] = "changed"
        model.graph.node.extend([*nodes, sigmoid])
        model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())

    return edit


def instead_of_the_sigmoid(operator: str) -> Edit:
    return lambda model: model.graph.node[3].CopyFrom(node(operator, ["logit"], ["score"]))


def with_attributes(**values: int) -> Edit:
    """Each of these lists of the tree ensemble filled with one number."""

    def edit(model: onnx.ModelProto) -> None:
        for attribute in model.graph.node[1].attribute:
            if attribute.name in values:
                attribute.ints[:] = [values[attribute.name]] * len(attribute.ints)

    return edit


COLUMN, ROW = np.array([-1, 1], np.int64), np.array([1, -1], np.int64)
ZERO = np.zeros(1, np.float32)

# the batch's sum of squares is added to each row
mixes_rows = before_the_sigmoid(
    node("Transpose", ["logit"], ["across"]),
    node("MatMul", ["across", "logit"], ["squares"]),
    node("Mul", ["squares", "little"], ["part"]),
    node("Add", ["logit", "part"], ["changed"]),
    little=np.array(1e-3, np.float32),
)
# each row gets what stands 1031 rows below the batch's first, where there is such a row
mixes_rows_of_large_batches = before_the_sigmoid(
    node("Slice", ["logit", "first", "end", "down"], ["below"]),
    node("Concat", ["below", "nothing"], ["at_least_one"], axis=0),
    node("Slice", ["at_least_one", "zero", "one", "down"], ["another"]),
    node("Add", ["logit", "another"], ["changed"]),
    first=np.array([1031], np.int64),
    end=np.array([2**31 - 1], np.int64),
    down=np.array([0], np.int64),
    zero=np.array([0], np.int64),
    one=np.array([1], np.int64),
    nothing=np.zeros((1, 1), np.float32),
)
zero_by_zero = before_the_sigmoid(node("Sub", ["logit", "logit"], ["zero"]), node("Div", ["zero", "zero"], ["changed"]))
log_of_less_than_nothing = before_the_sigmoid(node("Log", ["logit"], ["changed"]))

_SQUARE = [
    node("Reshape", ["features", "column"], ["standing"]),
    node("Reshape", ["features", "row"], ["lying"]),
    node("MatMul", ["standing", "lying"], ["square"]),
]
_TO_NOTHING = [
    node("Reshape", ["huge", "row"], ["long"]),
    node("Slice", ["long", "from", "to", "axis"], ["one"]),
    node("Mul", ["one", "zero"], ["nothing"]),
    node("Add", ["logit", "nothing"], ["changed"]),
]
_SHAPES: Mapping[str, NDArray[Any]] = {
    "column": COLUMN,
    "row": ROW,
    "from": np.array([0], np.int64),
    "to": np.array([1], np.int64),
    "axis": np.array([1], np.int64),
    "zero": ZERO,
}

# (2n)**2 by (2n)**2 numbers: a few for one row, 72 TB for a thousand
takes_all_memory = before_the_sigmoid(
    *_SQUARE,
    node("Reshape", ["square", "column"], ["more"]),
    node("Reshape", ["square", "row"], ["and_more"]),
    node("MatMul", ["more", "and_more"], ["huge"]),
    *_TO_NOTHING,
    **_SHAPES,
)

# n by n numbers: 4 MB for a thousand rows, 2.3 GB for 24,001
grows_with_the_square = before_the_sigmoid(
    node("Transpose", ["features"], ["across"], perm=[1, 0]),
    node("MatMul", ["features", "across"], ["huge"]),
    *_TO_NOTHING,
    **_SHAPES,
)

# products of 2n by 2n matrices: nothing for one row, a minute of CPU for a thousand
takes_a_minute = before_the_sigmoid(
    *_SQUARE,
    *(node("MatMul", ["square" if i == 0 else f"product_{i}", "square"], [f"product_{i + 1}"]) for i in range(200)),
    node("Mul", ["product_200", "zero"], ["huge"]),
    *_TO_NOTHING,
    **_SHAPES,
)


def deep_tree(model: onnx.ModelProto) -> None:
    """One tree that is a chain of 100,000 branches: onnxruntime follows it by recursion until its stack is used up."""
    n = 100_000
    ints = {
        "tree_roots": [0],
        "nodes_featureids": [0] * n,
        "nodes_truenodeids": [*range(1, n), 0],
        "nodes_falsenodeids": [0] * n,
        "nodes_trueleafs": [0] * (n - 1) + [1],
        "nodes_falseleafs": [1] * n,
    }
    tensors: dict[str, NDArray[Any]] = {"nodes_modes": np.zeros(n, np.uint8), "nodes_splits": np.arange(n, dtype=np.float64)}
    for attribute in model.graph.node[1].attribute:
        if attribute.name in ints:
            attribute.ints[:] = ints[attribute.name]
        if attribute.name in tensors:
            attribute.t.CopyFrom(numpy_helper.from_array(tensors[attribute.name], attribute.name))


def with_the_mark_of_another_format(model: onnx.ModelProto) -> None:
    """A producer whose name falls on the bytes where onnxruntime looks for the mark of its own format."""
    model.producer_name = "ORTM"


def named_like_a_command(model: onnx.ModelProto) -> None:
    model.graph.node.append(node("\x1b[2J\n" + "A" * 100_000, ["logit"], ["other"]))
