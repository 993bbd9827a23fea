"""What `kubectl kustomize` makes of a folder of infra/kubernetes: as much of it as those folders use."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from infra.config import ROOT

Document = dict[str, Any]

FOLDER = ROOT / "infra" / "kubernetes"
OVERLAYS = ("application", "shop", "larger", "session")
"""The folders that a person applies."""


def kustomization(folder: Path) -> Document:
    """A folder's kustomization.yaml."""
    return dict(_parsed(folder / "kustomization.yaml")[0])


def _parsed(file: Path) -> list[Any]:
    return copy.deepcopy(_read(file))


@cache
def _read(file: Path) -> list[Any]:
    return list(yaml.safe_load_all(file.read_text("utf-8")))


def rendered(folder: Path) -> list[Document]:
    """The documents of a folder, patched."""
    said = kustomization(folder)
    documents: list[Document] = []
    for name in said.get("resources", []):
        there = (folder / name).resolve()
        documents += rendered(there) if there.is_dir() else _parsed(there)
    for component in said.get("components", []):
        _patch(documents, (folder / component).resolve())
    _patch(documents, folder)
    if "namespace" in said:
        for document in documents:
            document["metadata"]["namespace"] = said["namespace"]
    return documents


def _patch(documents: list[Document], folder: Path) -> None:
    for entry in kustomization(folder).get("patches", []):
        (patch,) = _parsed(folder / entry["path"])
        target = entry.get("target") or {"kind": patch["kind"], "name": patch["metadata"]["name"]}
        chosen = [one for one in documents if one["kind"] == target["kind"] and target.get("name", one["metadata"]["name"]) == _name(one)]
        if not chosen:
            message = f"{folder / entry['path']} patches nothing"
            raise ValueError(message)
        for document in chosen:
            if isinstance(patch, list):
                _operations(document, patch)
            else:
                what = {key: value for key, value in patch.items() if key != "metadata"}
                document.update(merged(document, what))


def _name(document: Document) -> str:
    return str(document["metadata"]["name"])


def merged(held: Any, patch: Any) -> Any:
    """A JSON merge patch: maps are merged, a null takes away, all else is replaced."""
    if not isinstance(held, dict) or not isinstance(patch, dict):
        return copy.deepcopy(patch)
    kept = {key: merged(held.get(key), patch[key]) if key in patch else held[key] for key in [*held, *(k for k in patch if k not in held)]}
    return {key: value for key, value in kept.items() if not (key in patch and patch[key] is None)}


def _operations(document: Document, operations: list[Document]) -> None:
    for operation in operations:
        if operation["op"] != "replace":
            message = f"no operation {operation['op']} is known here"
            raise ValueError(message)
        replace(document, operation["path"].removeprefix("/"), operation["value"])


def replace(document: Any, path: str, value: object) -> None:
    """Set what lies at `a/b/0/c`; a part that is missing is made."""
    *parts, last = [part.replace("~1", "/") for part in path.split("/")]
    part = document
    for name in parts:
        part = part[int(name)] if isinstance(part, list) else part.setdefault(name, {})
    if isinstance(part, list):
        part[int(last)] = value
    else:
        part[last] = value
