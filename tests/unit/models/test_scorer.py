from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models import golden, model_file
from models.manifest import PUBLISHED, ModelOutput, ModelRefused, list_published, published
from models.scorer import Scorer, load_scorer
from tests.unit.models.builders import a_folder, a_manifest, a_model

Edit = Callable[[onnx.ModelProto], object]
SIZES = (1, 2, 7, 31, 32, 33, 100, 500, 2000)


def random_rows(scorer: Scorer, n: int, seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    random = np.random.default_rng(seed)
    x = random.integers(-1, 30, (n, len(scorer.manifest.inputs))).astype(np.float32)
    for j, column in enumerate(scorer.manifest.inputs):
        if column.name.startswith("seconds"):
            x[:, j] = random.exponential(50_000, n)
    return x


def test_a_good_folder_loads_and_scores() -> None:
    for model in list_published(PUBLISHED):
        scorer = load_scorer(published(PUBLISHED, model))
        scores = scorer.score(random_rows(scorer, 50, 0))
        assert scores.shape == (50,)
        assert scores.dtype == np.float32
        assert ((scores > 0) & (scores < 1)).all()


def test_no_rows_give_no_scores(tmp_path: Path) -> None:
    assert load_scorer(a_folder(tmp_path)).score(np.empty((0, 2), np.float32)).shape == (0,)


@pytest.mark.parametrize("model", list_published(PUBLISHED))
def test_a_row_scores_the_same_to_the_bit_in_a_batch_of_any_size(model: str) -> None:
    scorer = load_scorer(published(PUBLISHED, model))
    x = random_rows(scorer, 4000, 1)
    together = scorer.score(x)
    assert len(np.unique(together)) > 1000
    for size in SIZES:
        apart = np.concatenate([scorer.score(x[i : i + size]) for i in range(0, len(x), size)])
        assert apart.tobytes() == together.tobytes(), f"batches of {size}"


@pytest.mark.parametrize("model", list_published(PUBLISHED))
def test_the_sum_and_the_sigmoid_are_each_the_same_to_the_bit_in_any_batch(model: str) -> None:
    """Rounding to float32 at the end could hide a difference in most rows; so the steps are looked at one by one."""
    scorer = load_scorer(published(PUBLISHED, model))
    inside = onnx.load_model_from_string((published(PUBLISHED, model) / scorer.manifest.file).read_bytes())
    inside.graph.output.extend(
        [
            helper.make_tensor_value_info("sum", TensorProto.DOUBLE, ["n", 1]),
            helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["n", 1]),
        ]
    )
    from models.scorer import open_session

    session = open_session(scorer.manifest, inside.SerializeToString())
    x = random_rows(scorer, 2000, 2)
    names = ["sum", "logit", "score"]
    together = session.run(names, {"features": x})
    for size in SIZES:
        parts = [session.run(names, {"features": x[i : i + size]}) for i in range(0, len(x), size)]
        for k, name in enumerate(names):
            assert np.concatenate([part[k] for part in parts]).tobytes() == together[k].tobytes(), f"{name} in batches of {size}"


def external(tensor: onnx.TensorProto) -> onnx.TensorProto:
    tensor.name = "far"
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def a_tensor() -> onnx.TensorProto:
    return numpy_helper.from_array(np.zeros(1, np.float32), "near")


def a_graph(tensor: onnx.TensorProto) -> onnx.GraphProto:
    return helper.make_graph([], "inner", [], [], [tensor])


def in_an_attribute(model: onnx.ModelProto) -> None:
    ensemble = model.graph.node[1]
    external(next(a.t for a in ensemble.attribute if a.name == "leaf_weights"))


def in_a_function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Constant", [], ["c"], value=external(a_tensor()))
    model.functions.append(helper.make_function("own", "F", [], ["c"], [node], [helper.make_opsetid("", 17)]))


def shaped(name: str, kind: int, shape: list[str | int], output: bool) -> Edit:
    def edit(model: onnx.ModelProto) -> None:
        place = model.graph.output if output else model.graph.input
        place[0].CopyFrom(helper.make_tensor_value_info(name, kind, shape))

    return edit


def with_node(node: onnx.NodeProto) -> Edit:
    return lambda model: model.graph.node.append(node)


def with_opset(domain: str, version: int) -> Edit:
    def edit(model: onnx.ModelProto) -> None:
        for entry in model.opset_import:
            if entry.domain == domain:
                entry.version = version
                return
        model.opset_import.append(helper.make_opsetid(domain, version))

    return edit


def second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, ["n", 1]))


def lying_shape(model: onnx.ModelProto) -> None:
    """Declares (n, 1), gives (1, n)."""
    model.graph.node[3].output[0] = "column"
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, -1]), "shape"))
    model.graph.node.append(helper.make_node("Reshape", ["column", "shape"], ["score"]))


def broken_wiring(model: onnx.ModelProto) -> None:
    model.graph.node[3].input[0] = "nowhere"


FAR = "model.onnx tensor `far` lies in another file; save the model with all its data inside"
FLOAT, DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda model: model.graph.initializer.append(external(a_tensor())), FAR),
        (in_an_attribute, FAR),
        (in_a_function, FAR),
        (with_node(helper.make_node("If", ["x"], ["y"], then_branch=a_graph(external(a_tensor())))), FAR),
        (
            lambda model: model.functions.append(helper.make_function("own", "F", [], [], [], [])),
            "holds a local function `F`; export it with its functions inlined",
        ),
        (
            with_node(helper.make_node("Loop", [], ["y"], body=a_graph(a_tensor()))),
            "uses the operator `ai.onnx.Loop`; use only",
        ),
        (with_node(helper.make_node("RandomNormal", [], ["y"], shape=[1])), "uses the operator `ai.onnx.RandomNormal`"),
        (with_node(helper.make_node("Magic", [], ["y"], domain="com.vendor")), "uses the operator `com.vendor.Magic`"),
        (
            with_opset("com.vendor", 1),
            "needs operator set `com.vendor` 1; export it for `ai.onnx` 13 to 23, `ai.onnx.ml` 1 to 5",
        ),
        (with_opset("", 99), "needs operator set `ai.onnx` 99"),
        (with_opset("", 18), "has operator sets {'ai.onnx': 18, 'ai.onnx.ml': 5}, the manifest says {'ai.onnx': 17"),
        (
            shaped("x", FLOAT, ["n", 2], False),
            "must have one input `features` float32 (n, 2), has `x` float32 (n, 2); export it",
        ),
        (shaped("features", FLOAT, ["n", 3], False), "has `features` float32 (n, 3)"),
        (shaped("features", DOUBLE, ["n", 2], False), "has `features` double (n, 2)"),
        (shaped("features", FLOAT, [1, 2], False), "has `features` float32 (1, 2)"),
        (second_input, "has `features` float32 (n, 2), `more` float32 (n, 1)"),
        (
            shaped("label", FLOAT, ["n", 1], True),
            "must have the output `score` float32 (n, 1), has `label` float32 (n, 1); export it",
        ),
        (shaped("score", DOUBLE, ["n", 1], True), "has `score` double (n, 1)"),
        (shaped("score", FLOAT, ["n", 2], True), "has `score` float32 (n, 2)"),
        (shaped("score", FLOAT, [1], True), "has `score` float32 (1)"),
        (
            lying_shape,
            "3 rows must give `score` of shape (3, 1), got (1, 3); export it with the shape that it declares",
        ),
        (broken_wiring, "onnxruntime does not load model.onnx ("),
    ],
)
def test_a_file_that_is_not_the_model_of_its_manifest_is_refused(tmp_path: Path, edit: Edit, sentence: str) -> None:
    with pytest.raises(ModelRefused) as refusal:
        load_scorer(a_folder(tmp_path, a_model(edit)))
    assert str(refusal.value).startswith("model `buys@1`: ")
    assert sentence in str(refusal.value)


def test_an_output_of_one_dimension_is_as_good(tmp_path: Path) -> None:
    def flat(model: onnx.ModelProto) -> None:
        model.graph.node[3].output[0] = "column"
        model.graph.initializer.append(numpy_helper.from_array(np.array([-1]), "shape"))
        model.graph.node.append(helper.make_node("Reshape", ["column", "shape"], ["score"]))
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info("score", FLOAT, ["n"]))

    output = ModelOutput(name="score", shape=("n",), dtype="float32", meaning="the probability of a purchase")
    x = np.array([[1, 2], [3, 4], [0, 1]], np.float32)
    scores = load_scorer(a_folder(tmp_path / "flat", a_model(flat), output=output)).score(x)
    assert scores.tolist() == load_scorer(a_folder(tmp_path / "column")).score(x).tolist()


def test_bytes_that_are_no_onnx_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match=r"model.onnx is no ONNX file; export the model to ONNX again"):
        load_scorer(a_folder(tmp_path, b"\xff" * 100))


def test_a_file_that_was_changed_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    (a_folder(tmp_path) / "model.onnx").write_bytes(b"\xff" * 100)
    found = hashlib.sha256(b"\xff" * 100).hexdigest()
    with pytest.raises(ModelRefused, match=rf"model.onnx must have sha256 [0-9a-f]{{64}}, got {found}; restore the published file"):
        load_scorer(tmp_path)


def test_a_file_that_is_too_large_is_refused_without_reading_on(tmp_path: Path) -> None:
    with (a_folder(tmp_path) / "model.onnx").open("r+b") as file:
        file.truncate(model_file.LARGEST + 1)
    with pytest.raises(ModelRefused, match=r"model.onnx is larger than 67108864 bytes; publish a smaller model"):
        load_scorer(tmp_path)


def test_a_folder_without_its_model_file_is_refused(tmp_path: Path) -> None:
    (a_folder(tmp_path) / "model.onnx").unlink()
    with pytest.raises(ModelRefused, match=r"expected the file `.*model.onnx`, found none; restore its folder or train it again"):
        load_scorer(tmp_path)


def test_inputs_that_changed_places_are_refused_by_the_golden_rows(tmp_path: Path) -> None:
    folder = a_folder(tmp_path, inputs=tuple(reversed(a_manifest().inputs)))
    with pytest.raises(ModelRefused, match=r"golden row \d must score 0\.\d+, got 0\.\d+: manifest or model file were changed"):
        load_scorer(folder)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"{", "golden.json is not readable"),
        (
            b'{"columns": {}, "scores": []}',
            "golden.json does not fit the manifest (model `buys@1`, input `actions_10m`",
        ),
        (
            msgspec.json.encode(golden.Golden({"user_activity:actions_10m": [], "action:action": []}, [])),
            "golden.json holds no rows; publish the model again",
        ),
    ],
)
def test_golden_rows_that_cannot_be_asked_are_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    (a_folder(tmp_path) / golden.FILE).write_bytes(content)
    with pytest.raises(ModelRefused) as refusal:
        load_scorer(tmp_path)
    assert sentence in str(refusal.value)


def test_a_folder_without_golden_rows_is_refused(tmp_path: Path) -> None:
    (a_folder(tmp_path) / golden.FILE).unlink()
    with pytest.raises(ModelRefused, match=r"expected golden.json in `.*`, found none; publish the model again"):
        load_scorer(tmp_path)
