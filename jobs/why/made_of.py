"""The parts of an explanation that are read off what was found: values by name, rows by what they were made of, the model's file. Pure
but for the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from features.contributions import contributions
from features.online_keys import PROFILE_FEATURES
from features.profile_history import ProfileHistory
from infra.contracts.codec import event_milliseconds, rfc3339
from jobs.published_models import Identity
from jobs.scoring_path import Accepted
from jobs.why.explanation import ActivityRow, Earlier, Feature, ModelFile, ProfileRow, Span
from jobs.why.named import Place
from models.manifest import Manifest, ModelRefused, load_manifest


def features_of(values: Sequence[float | None], manifest: Manifest | None) -> tuple[Feature, ...]:
    """Each value with the model's name for it and where it comes from; numbered where no manifest tells."""
    found = []
    for i, value in enumerate(values):
        wanted = manifest.inputs[i] if manifest is not None and i < len(manifest.inputs) else None
        if wanted is None:
            found.append(Feature(f"input {i}", "", "", value, None))
            continue
        view, _, field = wanted.source.partition(":")
        found.append(Feature(wanted.name, view, field, value, _word(value, wanted.vocabulary)))
    return tuple(found)


def _word(value: float | None, vocabulary: Sequence[str] | None) -> str | None:
    if vocabulary is None or value is None:
        return None
    known = value.is_integer() and 0 <= value < len(vocabulary)
    return vocabulary[int(value)] if known else "none of the model's words"


def activity_of(accepted: Accepted, at: int, said_offset: int | None, said_time: str | None) -> ActivityRow:
    """The row before action `at` of a user's accepted actions, which stand in log order."""
    batch = accepted.batch
    made = contributions(batch.time[:at], batch.kind[:at], int(batch.time[at]))
    inside: dict[int, list[str]] = {}
    for name, window in made.windows.items():
        for i in window.actions:
            inside.setdefault(i, []).append(name)

    def earlier(i: int | None) -> Earlier | None:
        if i is None:
            return None
        place = Place(int(accepted.partition[i]), int(accepted.offset[i]))
        return Earlier(place, int(accepted.time[i]), accepted.events[i].data.action, tuple(inside.get(i, ())))

    counted = tuple(one for i in sorted(inside) if (one := earlier(i)) is not None)
    windows = {name: Span(window.first_ms, window.end_ms, len(window.actions)) for name, window in made.windows.items()}
    return ActivityRow(said_offset, said_time, at, earlier(made.previous), earlier(made.latest), earlier(made.purchase), windows, counted)


def profile_of(history: ProfileHistory, user: str, said: datetime | None) -> ProfileRow:
    """The row that a prediction names by the moment from which it was known."""
    if said is None:
        return ProfileRow(None, None)
    moment = event_milliseconds(said)
    row, there = history.known_from([user], np.array([moment], np.int64))
    return ProfileRow(rfc3339(moment), {name: row.columns[name][0] for name in PROFILE_FEATURES} if there[0] else None)


def model_file(root: Path, identity: Identity, fault: str) -> tuple[ModelFile, Manifest | None]:
    """The file that a prediction's model lies in, as it is now, and its manifest where that can be read."""
    name, version, sha256 = identity
    folder, manifest = root / name / version, None
    try:
        manifest = load_manifest(folder)
    except ModelRefused as error:
        fault = fault or str(error)
    path = folder / (manifest.file if manifest is not None else "model.onnx")
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
    return ModelFile(name, version, path, sha256, found, None if manifest is None else manifest.threshold, fault), manifest
