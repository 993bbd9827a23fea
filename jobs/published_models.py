"""Published models as the scoring path takes them: by the name that settings give, or as predictions name them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jobs.scoring_path import Model
from models.inputs import build
from models.manifest import ModelRefused, published

if TYPE_CHECKING:
    from models.scorer import Scorer

Identity = tuple[str, str, str]
"""Name, version and sha256, as a prediction names its model."""


def published_model(root: Path, name: str) -> Model:
    """The model `name@version` in the folder `root`.

    Raises:
        ModelRefused: there is none, or its file is not what its manifest says.

    """
    from models.scorer import load_scorer  # onnxruntime, which those alone need that score

    return model_of(load_scorer(published(root, name)))


def model_of(scorer: Scorer) -> Model:
    """A loaded model."""
    manifest = scorer.manifest
    return Model(
        manifest.name,
        manifest.version,
        manifest.sha256,
        manifest.threshold,
        tuple(column.source for column in manifest.inputs),
        lambda columns, n: build(manifest, columns, n),
        scorer.score,
        manifest.agrees,
    )


class PublishedModels:
    """Models as predictions name them, each verified and loaded once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[Identity, Model | str] = {}

    def find(self, identity: Identity) -> Model | str:
        """The model, or why it is none that was published."""
        if identity not in self._known:
            self._known[identity] = self._load(identity)
        return self._known[identity]

    def _load(self, identity: Identity) -> Model | str:
        name, version, sha256 = identity
        try:
            model = published_model(self._root, f"{name}@{version}")
        except ModelRefused as error:
            return str(error)
        if model.sha256 != sha256:
            return f"it says sha256 {sha256}, the published file has {model.sha256}"
        return model
