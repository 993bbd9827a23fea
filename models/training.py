"""A training frame -> a trained model with its card and golden rows. Pure: the same frame gives the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import lightgbm
import msgspec
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from infra.errors import StreamhouseError
from models.golden import Golden, as_lists, spread
from models.inputs import Column, build
from models.manifest import Manifest, Metrics, ModelInput, ModelOutput, Period, Scores, Training
from models.outcome import HORIZON, LABEL
from models.publishing import Trained
from models.scorer import Scorer, open_session
from models.trees import OPSET, to_onnx

MINUTE = 60_000
DAY = 24 * 60 * MINUTE
TEST, VALIDATION = 28 * DAY, 14 * DAY
"""Length of the last two periods, in ms of event time."""

BASELINE = "conversion rate of the current action in the training period, with 20 actions at the overall rate added"
PARAMETERS = {
    "objective": "binary",
    "min_data_in_leaf": 100,
    "feature_fraction": 0.7,
    "lambda_l2": 5.0,
    "use_missing": False,  # nulls have become declared defaults before
    "seed": 1,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbose": -1,
}
_DRAWN_BY = 20


class RecipeRefused(StreamhouseError):
    """A number that no training can use."""

    def __init__(self, name: str, expected: str, got: float) -> None:
        super().__init__(f"training with {name} {got:g}: expected {expected}; leave it out for the usual one")


@dataclass(frozen=True)
class Recipe:
    """What a person may choose. The same frame and recipe give the same bytes.

    Raises:
        RecipeRefused: a number out of its range.

    """

    # shallow and slow: a few thousand positive rows and 29 inputs overfit at once with more leaves
    trees: int = 100
    leaves: int = 7
    learning_rate: float = 0.05

    def __post_init__(self) -> None:
        for name, value, least, most in (
            ("trees", self.trees, 1, 5000),
            ("leaves", self.leaves, 2, 1024),
            ("learning_rate", self.learning_rate, 1e-4, 1.0),
        ):
            if not least <= value <= most:
                raise RecipeRefused(name, f"a number from {least} to {most}", value)


USUAL = Recipe()


class TrainingImpossible(StreamhouseError):
    """The frame cannot give a model: too short, or without both answers in a period."""

    def __init__(self, period: str, positive: int, rows: int) -> None:
        super().__init__(
            f"the {period} period needs actions with and without a purchase after them, got {positive} of {rows}; "
            f"train on more than {(TEST + VALIDATION) // DAY} days of data"
        )


@dataclass(frozen=True)
class Frame:
    """n actions in a fixed order, oldest first. `columns` by source as in `models.inputs`.

    `time` (n,) ms of event time; `label` (n,) bool, known for every row: none whose 30 minutes reach beyond the data. `known` (n,) ms:
    when row and label both were known, on the log's clock, which stands at the latest event time so far.
    """

    columns: Mapping[str, Column]
    time: NDArray[np.int64]
    label: NDArray[np.bool_]
    known: NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Masks (n,) over the rows of a frame. The HORIZON before validation and before test belongs to none.

    Nor does a row that became known, or whose label did, only when the next period had begun: a model of that day could not have learnt it.
    """

    train: NDArray[np.bool_]
    validation: NDArray[np.bool_]
    test: NDArray[np.bool_]


def split_by_time(time: NDArray[np.int64], known: NDArray[np.int64]) -> Split:
    """The last 28 days are the test, the 14 before them the validation, all before is for training. `known` as in Frame."""
    test_from = time.max(initial=0) - TEST
    validation_from = test_from - VALIDATION
    return Split(
        train=(time < validation_from - HORIZON) & (known < validation_from),
        validation=(time >= validation_from) & (time < test_from - HORIZON) & (known < test_from),
        test=time >= test_from,
    )


def train(frame: Frame, name: str, version: str, snapshot_ids: Mapping[str, int], recipe: Recipe = USUAL) -> Trained:
    """Fit on the first period, choose the threshold on the second, measure on the third.

    Raises:
        TrainingImpossible: a period without rows, or without both answers.

    """
    split = split_by_time(frame.time, frame.known)
    for period, mask in vars(split).items():
        positive, rows = int(frame.label[mask].sum()), int(mask.sum())
        if not 0 < positive < rows:
            raise TrainingImpossible(period, positive, rows)
    inputs = tuple(_input(source, column, frame.label, split.train) for source, column in frame.columns.items())
    manifest = _manifest(frame, split, name, version, snapshot_ids, inputs, recipe)

    x = build(manifest, frame.columns, len(frame.time))
    names = [column.name for column in inputs]
    data = lightgbm.Dataset(x[split.train], frame.label[split.train], feature_name=names)
    chosen = {"num_leaves": recipe.leaves, "learning_rate": recipe.learning_rate}
    booster = lightgbm.train({**PARAMETERS, **chosen}, data, recipe.trees)
    onnx = to_onnx(booster.dump_model(), len(inputs))

    score = Scorer(manifest, open_session(manifest, onnx)).score(x)
    threshold = best_threshold(frame.label[split.validation], score[split.validation])
    truth = frame.label[split.test]
    baseline = conversion_rate(frame.columns["action:action"], frame.label, split.train)
    manifest = msgspec.structs.replace(
        manifest,
        sha256=hashlib.sha256(onnx).hexdigest(),
        threshold=threshold,
        training=msgspec.structs.replace(manifest.training, largest_difference=float(f"{np.abs(score - booster.predict(x)).max():.2g}")),
        metrics=Metrics(model=measure(truth, score[split.test]), baseline=measure(truth, baseline[split.test]), baseline_is=BASELINE),
    )
    return Trained(manifest, onnx, _golden(frame, score))


def best_threshold(label: NDArray[np.bool_], score: NDArray[np.float32]) -> float:
    """The threshold with the best F1, the higher one of two equals; to three digits, as people write it."""
    candidates = np.unique(np.round(score.astype(np.float64), 3))
    decided = score[None, :] >= candidates[:, None]
    right = (decided & label).sum(1)
    f1 = 2 * right / (decided.sum(1) + label.sum())
    return float(candidates[np.flatnonzero(f1 == f1.max())[-1]])


def conversion_rate(action: Column, label: NDArray[np.bool_], train: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The baseline (n,): how often the current action led to a purchase in the rows of `train`."""
    names, codes = np.unique(np.array(["" if a is None else a for a in action]), return_inverse=True)
    overall = label[train].mean()
    seen = np.bincount(codes[train], minlength=len(names))
    bought = np.bincount(codes[train], weights=label[train], minlength=len(names))
    rate: NDArray[np.float64] = ((bought + _DRAWN_BY * overall) / (seen + _DRAWN_BY))[codes]
    return rate


def measure(label: NDArray[np.bool_], score: NDArray[np.floating[Any]]) -> Scores:
    """AUC, average precision and log loss, to five digits."""
    return Scores(
        auc=round(float(roc_auc_score(label, score)), 5),
        average_precision=round(float(average_precision_score(label, score)), 5),
        log_loss=round(float(log_loss(label, score.astype(np.float64))), 5),
    )


def _input(source: str, column: Column, label: NDArray[np.bool_], train: NDArray[np.bool_]) -> ModelInput:
    name = source.partition(":")[2]
    if isinstance(column, np.ndarray):
        # "seconds since" what never was: -1, which no measured distance is; a count of an unknown user is 0
        default = -1.0 if name.startswith("seconds_") else 0.0
        return ModelInput(name=name, source=source, dtype="float32", default=default)
    rate = conversion_rate(column, label, train)
    order = {word: (rate[i], word) for i, word in enumerate(column) if train[i] and word is not None}
    # by conversion rate: one split then separates the words that lead to purchases from the others
    vocabulary = tuple(sorted(order, key=lambda word: order[word]))
    return ModelInput(name=name, source=source, dtype="float32", default=-1.0, vocabulary=vocabulary)


def _manifest(
    frame: Frame,
    split: Split,
    name: str,
    version: str,
    snapshot_ids: Mapping[str, int],
    inputs: tuple[ModelInput, ...],
    recipe: Recipe,
) -> Manifest:
    periods: dict[Period, NDArray[np.bool_]] = {
        "train": split.train,
        "validation": split.validation,
        "test": split.test,
    }
    between = {period: (_moment(frame.time[mask].min()), _moment(frame.time[mask].max())) for period, mask in periods.items()}
    nothing = Scores(auc=0, average_precision=0, log_loss=0)
    return Manifest(
        name=name,
        version=version,
        description="Whether a shop's visitor buys within the next half hour, asked at each action.",
        owner="growth",
        feature_service=name,
        file="model.onnx",
        sha256="0" * 64,
        opset=OPSET,
        batch_invariant=True,
        threshold=0.5,
        inputs=inputs,
        output=ModelOutput(name="score", shape=("n", 1), dtype="float32", meaning=f"the probability that {LABEL}"),
        training=Training(
            snapshot_ids=dict(snapshot_ids),
            label=LABEL,
            split=between,
            rows={period: int(mask.sum()) for period, mask in periods.items()},
            threshold=f"the best F1 on the validation period, {between['validation'][0]} to {between['validation'][1]}",
            largest_difference=0.0,
            parameters=asdict(recipe),
        ),
        metrics=Metrics(model=nothing, baseline=nothing, baseline_is=BASELINE),
    )


def _golden(frame: Frame, score: NDArray[np.float32]) -> Golden:
    """Rows from the lowest score to the highest."""
    chosen = np.argsort(score, kind="stable")[spread(len(score))].tolist()
    return Golden(as_lists(frame.columns, chosen), [float(score[i]) for i in chosen])


def _moment(milliseconds: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(milliseconds))
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
