"""The bytes of a model file, read once, no more than fit, and with the hash that its manifest states. Nothing of them is parsed here."""

from __future__ import annotations

import hashlib
from pathlib import Path

from models.manifest import Manifest, ModelRefused

LARGEST = 64 * 1024 * 1024
"""Bytes in a model file."""


def verified_bytes(manifest: Manifest, folder: Path) -> bytes:
    """The model file of `folder`.

    Raises:
        ModelRefused: no such file, too large, or another hash than the manifest's.

    """
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
