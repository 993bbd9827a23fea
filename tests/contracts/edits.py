"""Edits of a copied contracts folder, as a person would make them in the files."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from infra.contracts.load import FOLDER

Edit = Callable[[Path], None]


def copied(folder: Path) -> Path:
    """Our contracts, copied into a folder that is empty or not there yet."""
    for part in ("topics", "schemas", "examples"):
        shutil.copytree(FOLDER / part, folder / part)
    return folder


def nothing(_: Path) -> None:
    """The contracts as they are."""


def several(*edits: Edit) -> Edit:
    """One after the other."""

    def edit(folder: Path) -> None:
        for one in edits:
            one(folder)

    return edit


def topic(name: str, change: Callable[[dict[str, Any]], object]) -> Edit:
    """Change a topic's file."""

    def edit(folder: Path) -> None:
        file = folder / "topics" / f"{name}.yaml"
        document = yaml.safe_load(file.read_text("utf-8"))
        change(document)
        file.write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")

    return edit


def schema_file(folder: Path, event_type: str, version: int | None = None) -> Path:
    """The file of a version of an event; of the newest where none is named."""
    kebab = re.sub(r"(?<!^)(?=[A-Z])", "-", event_type).lower()
    found = sorted((folder / "schemas").glob(f"{kebab}.v*.schema.json"), key=lambda file: int(file.name.split(".")[1][1:]))
    return found[-1] if version is None else folder / "schemas" / f"{kebab}.v{version}.schema.json"


def data(event_type: str, change: Callable[[dict[str, Any]], object], version: int | None = None) -> Edit:
    """Change the part `data` of an event's schema."""

    def edit(folder: Path) -> None:
        file = schema_file(folder, event_type, version)
        document = json.loads(file.read_text("utf-8"))
        change(document["properties"]["data"])
        file.write_text(json.dumps(document, indent=2), "utf-8")

    return edit


def whole(event_type: str, change: Callable[[dict[str, Any]], object]) -> Edit:
    """Change an event's schema outside of `data`."""

    def edit(folder: Path) -> None:
        file = schema_file(folder, event_type)
        document = json.loads(file.read_text("utf-8"))
        change(document)
        file.write_text(json.dumps(document, indent=2), "utf-8")

    return edit


def added(event_type: str, name: str, kind: str | list[str], description: str, unit: str, **limits: Any) -> Edit:
    """A new optional field."""
    field = {"type": kind, "description": description, "unit": unit, **limits}
    return data(event_type, lambda part: part["properties"].update({name: field}))


def limited(event_type: str, name: str, **limits: Any) -> Edit:
    """Other limits of a field."""
    return data(event_type, lambda part: part["properties"][name].update(limits))


def renamed(old: str, new: str) -> Callable[[dict[str, Any]], None]:
    """A field under another name, in its place."""

    def change(part: dict[str, Any]) -> None:
        part["properties"] = {new if name == old else name: field for name, field in part["properties"].items()}
        part["required"] = [new if name == old else name for name in part["required"]]

    return change


def next_version(
    name: str, event_type: str, change: Callable[[dict[str, Any]], object], upcast: dict[str, Any], ends: date = date(2099, 12, 31)
) -> Edit:
    """A version beside the newest one, which is deprecated."""

    def edit(folder: Path) -> None:
        file = schema_file(folder, event_type)
        document = json.loads(file.read_text("utf-8"))
        old = document["properties"]["version"]["const"]
        document["title"] = f"{event_type} v{old + 1}"
        document["properties"]["version"]["const"] = old + 1
        change(document["properties"]["data"])
        file.with_name(file.name.replace(f".v{old}.", f".v{old + 1}.")).write_text(json.dumps(document, indent=2), "utf-8")
        topic(name, lambda contract: _listed(contract, event_type, old, upcast, ends))(folder)
        for example in (folder / "examples" / name / "invalid").glob(f"version-{old + 1}.json"):
            text = example.read_text("utf-8")  # an unknown version, which it is to stay
            example.write_text(re.sub(rf'("version"): {old + 1}\b', r"\1: 99", text), "utf-8")

    return edit


def without_version(name: str, event_type: str, version: int) -> Edit:
    """A version is gone, with its schema and its upcast; so are the examples that no version fits any more."""

    def change(contract: dict[str, Any]) -> None:
        contract["events"] = [event for event in contract["events"] if (event["type"], event["version"]) != (event_type, version)]
        first = next((event for event in contract["events"] if event["type"] == event_type), None)
        if first is not None:
            first.pop("upcast", None)

    def edit(folder: Path) -> None:
        topic(name, change)(folder)
        schema_file(folder, event_type, version).unlink()

    return edit


def with_type(name: str, event_type: str, like: str, description: str) -> Edit:
    """A new event type on a topic, with the fields of another one."""

    def edit(folder: Path) -> None:
        document = json.loads(schema_file(folder, like).read_text("utf-8"))
        document |= {"title": f"{event_type} v1", "description": description}
        document["properties"]["eventType"]["const"] = event_type
        schema_file(folder, event_type, 1).write_text(json.dumps(document, indent=2), "utf-8")
        topic(name, lambda contract: contract["events"].append({"type": event_type, "version": 1}))(folder)

    return edit


def _listed(contract: dict[str, Any], event_type: str, old: int, upcast: dict[str, Any], ends: date) -> None:
    instead = {"type": event_type, "version": old + 1}
    for event in contract["events"]:
        if event["type"] == event_type and event["version"] == old:
            event["deprecated"] = {"ends": ends, "owner": contract["owner"], "replacement": instead}
    contract["events"].append({**instead, "upcast": upcast})
