"""A model with its card and golden rows -> a folder that `load_scorer` takes. A published version never changes.

The registry is plain files: `root/NAME/VERSION/` holds a manifest, a model file and golden rows. Nothing comes there before a child
process has tried it (`models.trial`).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from models import golden, manifest
from models.golden import Golden, read_golden, write_golden
from models.manifest import Manifest, ModelRefused, list_published, load_manifest
from models.model_file import verified_bytes
from models.trial import LIMITS, Limits, record_scores, try_model


@dataclass(frozen=True)
class Trained:
    """What is published: the card, the bytes of the model file, the golden rows. Rows without scores are scored when it is published."""

    manifest: Manifest
    onnx: bytes
    golden: Golden


def next_version(root: Path, name: str) -> str:
    """One more than the highest published version; `1` for a new name."""
    versions = [int(model.partition("@")[2]) for model in list_published(root) if model.partition("@")[0] == name]
    return str(max(versions, default=0) + 1)


def read_folder(folder: Path) -> Trained:
    """A model that was made elsewhere: `manifest.yaml`, the model file that it names, and golden rows if there are any.

    Other files are left alone. Nothing of the model file is parsed.

    Raises:
        ModelRefused: a file that is not readable, too large, or not of the manifest's hash; golden rows without scores.

    """
    card = load_manifest(folder)
    data = verified_bytes(card, folder)
    if not os.path.lexists(folder / golden.FILE):
        return Trained(card, data, Golden({}, []))
    rows = read_golden(card, folder)
    if not rows.scores:
        raise ModelRefused(
            card.thing, f"{golden.FILE} holds no scores", "remove it, and golden rows are recorded, or bring them with scores"
        )
    return Trained(card, data, rows)


def is_published(root: Path, trained: Trained) -> bool:
    """Whether its version is there with the same content; golden rows without scores are no difference.

    Raises:
        ModelRefused: the version exists with other content.

    """
    card = trained.manifest
    folder = root / card.name / card.version
    if not os.path.lexists(folder):
        return False
    there = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} if folder.is_dir() else {}
    files = _files(trained)
    if not trained.golden.scores and golden.FILE in there:
        files[golden.FILE] = there[golden.FILE]
    if there == files:
        return True
    fault = f"`{folder}` holds another model already, and a published version never changes"
    raise ModelRefused(card.thing, fault, f"publish it as version {next_version(root, card.name)}")


def publish(root: Path, trained: Trained, limits: Limits = LIMITS) -> Path:
    """Write the model's folder whole or not at all, once a child has tried it. Publishing the same again changes nothing.

    Raises:
        ModelRefused: the version exists with other content, or the model did not stand its trial.

    """
    card = trained.manifest
    folder = root / card.name / card.version
    if is_published(root, trained):
        try_model(folder, limits)
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder.parent))
    try:
        _write(draft, trained)
        if not trained.golden.scores:
            trained = Trained(card, trained.onnx, msgspec.structs.replace(trained.golden, scores=record_scores(draft, limits)))
            _write(draft, trained)
        try_model(draft, limits)
        draft.chmod(0o755)
        _rename(draft, folder, card)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def _files(trained: Trained) -> dict[str, bytes]:
    return {
        manifest.FILE: manifest.dump_manifest(trained.manifest).encode(),
        trained.manifest.file: trained.onnx,
        golden.FILE: write_golden(trained.golden),
    }


def _write(draft: Path, trained: Trained) -> None:
    for name, content in _files(trained).items():
        with (draft / name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # or a power cut after the renaming leaves empty files in a whole folder


def _rename(draft: Path, folder: Path, card: Manifest) -> None:
    try:
        draft.rename(folder)
    except OSError as error:
        if not folder.exists():
            raise
        fault = f"`{folder}` was published by someone else at the same time"
        raise ModelRefused(
            card.thing, fault, "publish it again: the same model is taken for the same, another needs another version"
        ) from error
