"""Definitions -> feature registry: prints what would change, then changes it. Feast is imported only when something is asked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from infra.config import Settings
from infra.contracts.change import Change

if TYPE_CHECKING:
    from feast import FeatureStore

os.environ.setdefault("FEAST_USAGE", "False")  # loopback only: nothing is reported to anybody


def feature_store(settings: Settings) -> FeatureStore:
    """A Feast store for these settings; `import feast` costs seconds, so one per process."""
    from feast import FeatureStore

    return FeatureStore(fs_yaml_file=write_configuration(settings))


def write_configuration(settings: Settings) -> Path:
    """Write feature_store.yaml for these settings into the state folder; the committed one serves the defaults."""
    committed = yaml.safe_load((settings.root / "features" / "feature_store.yaml").read_text("utf-8"))
    committed["registry"]["path"] = str(settings.feast_repo / "registry.db")
    committed["online_store"]["connection_string"] = f"{settings.redis.host}:{settings.redis.port}"
    settings.feast_repo.mkdir(parents=True, exist_ok=True)
    file = settings.feast_repo / "feature_store.yaml"
    text = yaml.safe_dump(committed, sort_keys=False)
    if not file.exists() or file.read_text("utf-8") != text:
        file.write_text(text, "utf-8")
    return file


def plan(settings: Settings) -> list[Change]:
    """What `apply` would do to the feature registry."""
    return [change for change, _ in _compared(feature_store(settings), settings)]


def apply(settings: Settings) -> list[Change]:
    """Register what differs; twice changes nothing."""
    store = feature_store(settings)
    compared = _compared(store, settings)
    if any(change.action != "keep" for change, _ in compared):
        store.apply([definition for _, definition in compared])
    return [change for change, _ in compared]


def _compared(store: FeatureStore, settings: Settings) -> list[tuple[Change, Any]]:
    from feast import Entity, FeatureService

    from features.definitions import definitions

    answer: list[tuple[Change, Any]] = []
    for definition in definitions(settings):
        held: dict[str, Any]
        if isinstance(definition, Entity):
            kind, held = "entity", {e.name: e for e in store.list_entities()}
        elif isinstance(definition, FeatureService):
            kind, held = "feature service", {s.name: s for s in store.list_feature_services()}
        else:
            kind, held = "feature view", {v.name: v for v in store.list_all_feature_views()}
        there = held.get(definition.name)
        if there is None:
            action, detail = "create", definition.description
        elif _comparable(there) != _comparable(definition):
            action, detail = "update", "its definition changed"
        else:
            action, detail = "keep", ""
        answer.append((Change(kind, definition.name, action, detail), definition))
    return answer


def _comparable(definition: object) -> object:
    """A definition's own digest, which `definitions` puts into its tags; the registry adds times and columns of its own."""
    tags = getattr(definition, "tags", {})
    return tags.get("definition") or definition
