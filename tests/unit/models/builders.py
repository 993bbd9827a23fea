"""Small models, valid by default: two inputs, two trees, in a folder of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx

from models import golden, manifest
from models.golden import Golden
from models.inputs import Column, build
from models.manifest import Manifest, Metrics, ModelInput, ModelOutput, Scores, Training, dump_manifest
from models.outcome import HORIZON
from models.scorer import Scorer, open_session
from models.training import DAY, MINUTE, Frame
from models.trees import OPSET, to_onnx

WORDS = ("home", "cart", "purchase")


def a_split(feature: int, threshold: float, left: Any, right: Any) -> dict[str, Any]:
    def node(child: Any) -> dict[str, Any]:
        return child if isinstance(child, dict) else {"leaf_value": child}

    return {
        "split_feature": feature,
        "threshold": threshold,
        "decision_type": "<=",
        "missing_type": "None",
        "left_child": node(left),
        "right_child": node(right),
    }


def a_dump(*trees: dict[str, Any]) -> dict[str, Any]:
    """What LightGBM's `dump_model` gives for these trees."""
    trees = trees or (a_split(0, 2.5, a_split(1, 0.5, -2.0, -1.0), 0.5), a_split(1, 1.5, 0.0, 1.25))
    return {"objective": "binary sigmoid:1", "tree_info": [{"tree_structure": tree} for tree in trees]}


def a_manifest(**changes: Any) -> Manifest:
    nothing = Scores(auc=0.5, average_precision=0.1, log_loss=0.3)
    card = Manifest(
        name="buys",
        version="1",
        description="Whether the visitor buys.",
        owner="growth",
        feature_service="buys",
        file="model.onnx",
        sha256="0" * 64,
        opset=OPSET,
        batch_invariant=True,
        threshold=0.5,
        inputs=(
            ModelInput(name="actions_10m", source="user_activity:actions_10m", dtype="float32", default=0.0),
            ModelInput(name="action", source="action:action", dtype="float32", default=-1.0, vocabulary=WORDS),
        ),
        output=ModelOutput(name="score", shape=("n", 1), dtype="float32", meaning="the probability of a purchase"),
        training=Training(
            snapshot_ids={"user_actions": 8_123_456_789_012_345_678},
            label="a purchase",
            split={"train": ("a", "b"), "validation": ("c", "d"), "test": ("e", "f")},
            rows={"train": 3, "validation": 2, "test": 1},
            threshold="chosen",
            largest_difference=1e-7,
        ),
        metrics=Metrics(model=nothing, baseline=nothing, baseline_is="the overall rate"),
    )
    return msgspec.structs.replace(card, **changes)


def a_model(edit: Callable[[onnx.ModelProto], object] = lambda model: None) -> bytes:
    """The bytes of a model that fits `a_manifest`, changed by `edit`."""
    model = onnx.ModelProto()
    model.ParseFromString(to_onnx(a_dump(), 2))
    edit(model)
    return bytes(model.SerializeToString())


def a_folder(folder: Path, data: bytes | None = None, **changes: Any) -> Path:
    """A model folder that loads, or that is refused for what was changed."""
    good = a_model()
    data = good if data is None else data
    card = a_manifest(**{"sha256": hashlib.sha256(data).hexdigest(), **changes})
    columns: dict[str, list[float | str | None]] = {
        "user_activity:actions_10m": [0.0, 3.0, None],
        "action:action": ["cart", "never heard of", None],
    }
    fresh = a_manifest()
    x = build(fresh, {"user_activity:actions_10m": np.array([0.0, 3.0, np.nan]), "action:action": ["cart", "?", None]}, 3)
    scores = Scorer(fresh, open_session(fresh, good)).score(x)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / manifest.FILE).write_text(dump_manifest(card), "utf-8")
    (folder / card.file).write_bytes(data)
    (folder / golden.FILE).write_bytes(msgspec.json.encode(Golden(columns, [float(s) for s in scores])))
    return folder


def a_frame(n: int = 6000, days: int = 80, seed: int = 0) -> Frame:
    """Actions in which carts, and many actions in ten minutes, lead to purchases; some values are not known."""
    random = np.random.default_rng(seed)
    actions = random.poisson(3, n).astype(np.float64)
    since = np.where(random.random(n) < 0.1, np.nan, np.round(random.exponential(3000, n), 3))
    action: list[str | None] = [str(word) for word in random.choice(["home", "search", "cart"], n)]
    chance = 1 / (1 + np.exp(4 - 0.4 * actions - 2.5 * np.array([word == "cart" for word in action])))
    action[::97] = [None] * len(action[::97])
    columns: dict[str, Column] = {
        "user_activity:actions_10m": actions,
        "user_activity:seconds_since_action": since,
        "action:action": action,
    }
    time = 1_700_000_000_000 + np.sort(random.integers(0, days * DAY // MINUTE, n)) * MINUTE
    return Frame(columns, time, random.random(n) < chance, time + HORIZON)
