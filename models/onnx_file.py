"""What a model file may contain, looked at before onnxruntime sees it: it can reach for other files, or never end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx
from google.protobuf.message import DecodeError, Message

from models.manifest import Manifest, ModelRefused

OPSETS = {"ai.onnx": range(13, 24), "ai.onnx.ml": range(1, 6)}
"""Versions of the operator sets that are known here; a new one is tried for batch invariance first."""

# a fixed amount of work for each row, and the same answer each time: no loops, no random numbers, nothing of a vendor
_PLAIN = """
    Abs Add And ArgMax Cast Clip Concat Constant Div Equal Exp Flatten Gather Gemm Greater GreaterOrEqual Identity
    LeakyRelu Less LessOrEqual Log MatMul Max Min Mul Neg Not Or Pow Relu Reshape Sigmoid Slice Softmax Softplus Sqrt
    Squeeze Sub Tanh Transpose Unsqueeze Where
"""
_LEARNED = """
    ArrayFeatureExtractor Imputer LinearClassifier LinearRegressor Normalizer Scaler
    TreeEnsemble TreeEnsembleClassifier TreeEnsembleRegressor
"""
OPERATORS = {"ai.onnx": frozenset(_PLAIN.split()), "ai.onnx.ml": frozenset(_LEARNED.split())}


def check_file(manifest: Manifest, data: bytes) -> None:
    """Refuse what must not be loaded, and what is not the model that the manifest describes.

    Raises:
        ModelRefused: one sentence on the first fault found.

    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise _refused(manifest, "is no ONNX file", "export the model to ONNX again") from error
    for message in _messages(model):
        if isinstance(message, onnx.TensorProto) and (message.data_location == onnx.TensorProto.EXTERNAL or len(message.external_data)):
            fault = f"tensor `{message.name}` lies in another file"
            raise _refused(manifest, fault, "save the model with all its data inside")
    if len(model.functions):
        fault = f"holds a local function `{model.functions[0].name}`"
        raise _refused(manifest, fault, "export it with its functions inlined")
    _check_operators(manifest, model)
    _check_tensors(manifest, model)


def _check_operators(manifest: Manifest, model: onnx.ModelProto) -> None:
    imports = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    for domain, version in sorted(imports.items()):
        known = OPSETS.get(domain)
        if known is None or version not in known:
            fault = f"needs operator set `{domain}` {version}"
            ranges = ", ".join(f"`{name}` {r.start} to {r.stop - 1}" for name, r in OPSETS.items())
            raise _refused(manifest, fault, f"export it for {ranges}")
    if imports != manifest.opset:
        raise _refused(manifest, f"has operator sets {imports}, the manifest says {manifest.opset}", "train it again")
    for message in _messages(model):
        if isinstance(message, onnx.NodeProto):
            domain = message.domain or "ai.onnx"
            if message.op_type not in OPERATORS.get(domain, ()):
                fault = f"uses the operator `{domain}.{message.op_type}`"
                raise _refused(manifest, fault, "use only those that `models/onnx_file.py` lists")


def _check_tensors(manifest: Manifest, model: onnx.ModelProto) -> None:
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [_shape(value) for value in model.graph.input if value.name not in constants]
    width = len(manifest.inputs)
    if inputs != [("features", "float32", ("n", width))]:
        fault = f"must have one input `features` float32 (n, {width}), has {_text(inputs)}"
        raise _refused(manifest, fault, "export it with one tensor as wide as the manifest's inputs")
    output = manifest.output
    outputs = [_shape(value) for value in model.graph.output]
    if (output.name, output.dtype, tuple(output.shape)) not in outputs:
        fault = f"must have the output {_text([(output.name, output.dtype, tuple(output.shape))])}, has {_text(outputs)}"
        raise _refused(manifest, fault, "export it with that shape and without zipmap")


def _messages(message: Message) -> Iterator[Message]:
    """The message and every message inside it: nodes, their attributes, the graphs in those, functions."""
    stack = [message]
    while stack:
        message = stack.pop()
        yield message
        for field, value in message.ListFields():
            if field.type == field.TYPE_MESSAGE:
                stack.extend(value if field.label == field.LABEL_REPEATED else [value])


def _shape(value: onnx.ValueInfoProto) -> tuple[str, str, tuple[Any, ...]]:
    tensor = value.type.tensor_type
    name = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    kind = "float32" if name == "float" else name
    # the first dimension is the batch: whatever its name, it must be free
    sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
    return value.name, kind, tuple("n" if i == 0 and size is None else size for i, size in enumerate(sizes))


def _text(values: list[tuple[str, str, tuple[Any, ...]]]) -> str:
    parts = [f"`{name}` {kind} ({', '.join('?' if s is None else str(s) for s in shape)})" for name, kind, shape in values]
    return ", ".join(parts) or "none"


def _refused(manifest: Manifest, fault: str, remedy: str) -> ModelRefused:
    return ModelRefused(manifest.thing, f"{manifest.file} {fault}", remedy)
