"""A model with its card and golden rows -> a folder that `load_scorer` takes. A published version never changes.

The registry is plain files: `root/NAME/VERSION/` holds a manifest, a model file and golden rows. Nothing comes there before a child
process has tried it (`models.trial`). Until then it lies in `root/.draft-...`, which its writer holds locked.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from models import golden, manifest
from models.golden import Golden, read_golden, write_golden
from models.manifest import Manifest, ModelRefused, list_published, load_manifest
from models.model_file import verified_bytes
from models.trial import LIMITS, Limits, record_scores, try_model

_DRAFT = ".draft-"


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
        ModelRefused: the version exists with other content, or the model did not stand its trial; nothing of it is left in `root`.

    """
    publish_new(root, trained, limits)
    return root / trained.manifest.name / trained.manifest.version


def publish_new(root: Path, trained: Trained, limits: Limits = LIMITS) -> bool:
    """As `publish`; whether the folder was written by this very call, and not before it or by someone else meanwhile.

    Raises:
        ModelRefused: as `publish`.

    """
    card = trained.manifest
    folder = root / card.name / card.version
    _clear(root, card.name)
    if is_published(root, trained):
        try_model(folder, limits)
        return False
    with _draft(root) as draft:
        _write(draft, trained)
        scored = trained
        if not trained.golden.scores:
            scored = Trained(card, trained.onnx, msgspec.structs.replace(trained.golden, scores=record_scores(draft, limits)))
            _write(draft, scored)
        try_model(draft, limits)
        draft.chmod(0o755)
        return _rename(draft, root, trained)


@contextlib.contextmanager
def _draft(root: Path) -> Iterator[Path]:
    """A folder to write in, locked for as long as it is written, and gone at the end."""
    root.mkdir(parents=True, exist_ok=True)
    draft, lock = _locked_draft(root)
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        os.close(lock)


def _locked_draft(root: Path) -> tuple[Path, int]:
    while True:
        draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=root))
        with contextlib.suppress(FileNotFoundError):  # someone took it for one that nobody writes, before it was locked
            lock = os.open(draft, os.O_RDONLY | os.O_DIRECTORY)
            with contextlib.suppress(OSError):  # a file system without locks: there drafts are never cleared
                fcntl.flock(lock, fcntl.LOCK_EX)
            if draft.exists():
                return draft, lock
            os.close(lock)


def _clear(root: Path, name: str) -> None:
    """Remove what killed processes left half written: drafts that nobody holds locked, for a lock ends with its process.

    They lay in the model's own folder once.
    """
    for draft in [*root.glob(f"{_DRAFT}*"), *root.glob(f"{name}/{_DRAFT}*")]:
        with contextlib.suppress(OSError):
            lock = os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(draft, ignore_errors=True)
            finally:
                os.close(lock)


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


def _rename(draft: Path, root: Path, trained: Trained) -> bool:
    """Bring the draft to its place; False: someone else has brought the same model there meanwhile.

    Raises:
        ModelRefused: someone else has brought another one there.

    """
    folder = root / trained.manifest.name / trained.manifest.version
    folder.parent.mkdir(exist_ok=True)
    try:
        draft.rename(folder)
    except OSError:
        if not is_published(root, trained):
            raise
        return False
    return True
