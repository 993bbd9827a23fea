"""Models of any size by the project's own training, of made rows: what they say is nothing, what they cost is real."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from features.activity import FEATURES
from features.online_keys import ACTIVITY
from jobs.published_models import model_of
from jobs.scoring_path import Model
from models.inputs import Column
from models.outcome import HORIZON
from models.scorer import Scorer, open_session
from models.training import DAY, USUAL, Frame, train

_ROWS = 6000
_DAYS = 120


def trained(trees: int) -> Model:
    """A model of so many trees that takes every feature and the action; the same each time."""
    made = train(_frame(), "growth", "1", {}, replace(USUAL, trees=trees))
    return model_of(Scorer(made.manifest, open_session(made.manifest, made.onnx)))


def _frame() -> Frame:
    rng = np.random.default_rng(1)
    columns: dict[str, Column] = {f"{ACTIVITY}:{name}": np.floor(rng.exponential(20, _ROWS)) for name in FEATURES}
    columns["action:action"] = rng.choice(["home", "product_view", "add_to_cart"], _ROWS).tolist()
    # every feature says a little, so that each tree finds something to split
    said = np.array([np.sqrt(column) for column in columns.values() if isinstance(column, np.ndarray)]).sum(0)
    label = said + rng.normal(0, said.std(), _ROWS) > np.median(said)
    time = np.sort(rng.integers(0, _DAYS * DAY, _ROWS))
    return Frame(columns, time, label, time + HORIZON)
