"""(n, d) float32 -> (n,) float32 through ONNX, in-process.

What was checked is what is loaded: the file is read once, and the session is made from those bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.golden import check_golden
from models.manifest import Manifest, ModelRefused, load_manifest
from models.onnx_file import LARGEST, check_file


@dataclass(frozen=True)
class Scorer:
    """A loaded model. One thread: the job's parallelism is Flink's, and the order of sums stays fixed."""

    manifest: Manifest
    session: Any  # onnxruntime ships no types

    def score(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, d) float32 in manifest order -> (n,) float32 scores.

        A row's score does not depend, to the bit, on the rows beside it.
        """
        answer: NDArray[np.float32] = self.session.run([self.manifest.output.name], {"features": x})[0]
        return answer.reshape(len(x))


def load_scorer(folder: Path) -> Scorer:
    """Verify the model in `folder` and load it from the very bytes that were verified.

    Raises:
        ModelRefused: manifest, hash, size, content, input, output or golden rows are not as they must be.

    """
    manifest = load_manifest(folder)
    data = _verified_bytes(manifest, folder)
    check_file(manifest, data)
    scorer = Scorer(manifest, open_session(manifest, data))
    _check_shape(scorer)
    check_golden(manifest, folder, scorer.score)
    return scorer


def open_session(manifest: Manifest, data: bytes) -> Any:  # noqa: ANN401 - onnxruntime ships no types
    """An onnxruntime session on bytes that `check_file` has seen.

    Raises:
        ModelRefused: onnxruntime does not take them.

    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no class
        fault = f"onnxruntime does not load {manifest.file} ({' '.join(str(error).split())[:200]})"
        raise ModelRefused(manifest.thing, fault, "export the model to ONNX again") from error


def _verified_bytes(manifest: Manifest, folder: Path) -> bytes:
    path = folder / manifest.file
    if not path.is_file():
        raise ModelRefused(manifest.thing, f"expected the file `{path}`, found none", "restore its folder or train it again")
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ModelRefused(manifest.thing, f"{manifest.file} is larger than {LARGEST} bytes", "publish a smaller model")
    found = hashlib.sha256(data).hexdigest()
    if found != manifest.sha256:
        fault = f"{manifest.file} must have sha256 {manifest.sha256}, got {found}"
        remedy = "restore the published file, or publish this one as a new version with its own manifest"
        raise ModelRefused(manifest.thing, fault, remedy)
    return data


def _check_shape(scorer: Scorer) -> None:
    # converters declare shapes that the graph does not keep: then each batch costs a warning, or scores change rows
    manifest = scorer.manifest
    for n in (1, 3):
        zeros = np.zeros((n, len(manifest.inputs)), np.float32)
        answer = scorer.session.run([manifest.output.name], {"features": zeros})[0]
        expected = tuple(n if size == "n" else size for size in manifest.output.shape)
        if answer.shape != expected:
            fault = f"{n} rows must give `{manifest.output.name}` of shape {expected}, got {answer.shape}"
            raise ModelRefused(manifest.thing, fault, "export it with the shape that it declares")
