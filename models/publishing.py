"""A trained model -> a folder that `load_scorer` takes. A published version never changes."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import msgspec

from models import golden, manifest
from models.manifest import ModelRefused, list_published
from models.scorer import load_scorer
from models.training import Trained


def next_version(root: Path, name: str) -> str:
    """One more than the highest published version; `1` for a new name."""
    versions = [int(model.partition("@")[2]) for model in list_published(root) if model.partition("@")[0] == name]
    return str(max(versions, default=0) + 1)


def publish(root: Path, trained: Trained) -> Path:
    """Write the model's folder whole or not at all, and load it once. Publishing the same again changes nothing.

    Raises:
        ModelRefused: the version exists with other content, or the new folder does not load.

    """
    card = trained.manifest
    files = {
        manifest.FILE: manifest.dump_manifest(card).encode(),
        card.file: trained.onnx,
        golden.FILE: msgspec.json.format(msgspec.json.encode(trained.golden), indent=1),
    }
    folder = root / card.name / card.version
    if folder.exists():
        there = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        if there == files:
            return folder
        fault = f"`{folder}` holds another model already, and a published version never changes"
        raise ModelRefused(card.thing, fault, f"publish it as version {next_version(root, card.name)}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder.parent))
    try:
        for name, content in files.items():
            (draft / name).write_bytes(content)
        load_scorer(draft)
        draft.chmod(0o755)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder
