"""(n, d) float32 -> (n,) float32 through ONNX, in-process.

What was checked is what is loaded: the file is read once, and the session is made from those bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.golden import check_golden
from models.manifest import Manifest, ModelRefused, load_manifest
from models.model_file import verified_bytes
from models.onnx_file import check_file


@dataclass(frozen=True)
class Scorer:
    """A loaded model. One thread: the job's parallelism is Flink's, and the order of sums stays fixed."""

    manifest: Manifest
    session: Any  # onnxruntime ships no types

    def score(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, d) float32 in manifest order -> (n,) float32 scores.

        Where the manifest promises batch invariance, a row's score does not depend, to the bit, on the rows beside it.
        """
        answer: NDArray[np.float32] = self.session.run([self.manifest.output.name], {"features": x})[0]
        return answer.reshape(len(x))

    def ask(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """The same for a model that is not trusted yet.

        Raises:
            ModelRefused: onnxruntime fails on these rows, or gives something else than one score for each.

        """
        try:
            return self.score(x)
        except Exception as error:  # its exceptions share no class
            raise _no_score(self.manifest, len(x), error) from error


def load_scorer(folder: Path) -> Scorer:
    """Verify the model in `folder` and load it from the very bytes that were verified.

    Raises:
        ModelRefused: manifest, hash, size, content, input, output or golden rows are not as they must be.

    """
    scorer = load_unasked(load_manifest(folder), folder)
    check_golden(scorer.manifest, folder, scorer.ask)
    return scorer


def load_unasked(manifest: Manifest, folder: Path) -> Scorer:
    """The same without golden rows, which a model has only when it is published.

    Raises:
        ModelRefused: hash, size, content, input or output are not as they must be.

    """
    data = verified_bytes(manifest, folder)
    check_file(manifest, data)
    scorer = Scorer(manifest, open_session(manifest, data))
    _check_shape(scorer)
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
    # or onnxruntime takes bytes that bear its own format's mark for that format, of which `check_file` has seen nothing
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no class
        fault = f"onnxruntime does not load {manifest.file} ({_brief(error)})"
        raise ModelRefused(manifest.thing, fault, "export the model to ONNX again") from error


def _check_shape(scorer: Scorer) -> None:
    # converters declare shapes that the graph does not keep: then each batch costs a warning, or scores change rows
    manifest = scorer.manifest
    for n in (1, 3):
        zeros = np.zeros((n, len(manifest.inputs)), np.float32)
        try:
            answer = scorer.session.run([manifest.output.name], {"features": zeros})[0]
        except Exception as error:
            raise _no_score(manifest, n, error) from error
        expected = tuple(n if size == "n" else size for size in manifest.output.shape)
        if answer.shape != expected:
            fault = f"{n} rows must give `{manifest.output.name}` of shape {expected}, got {answer.shape}"
            raise ModelRefused(manifest.thing, fault, "export it with the shape that it declares")


def _no_score(manifest: Manifest, n: int, error: Exception) -> ModelRefused:
    fault = f"a batch of {n} must give {n} scores, got {type(error).__name__} ({_brief(error)})"
    return ModelRefused(manifest.thing, fault, "export a model that scores any number of rows")


def _brief(error: Exception) -> str:
    """The end of what it says, where onnxruntime puts the reason, after its own sources and signatures."""
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"... {text[-200:]}"
