"""What a comparison of two models says: plain numbers, each with its interval, ready for JSON."""

from __future__ import annotations

from typing import Literal

import msgspec

Better = Literal["candidate", "champion", "neither", "mixed", "unknown"]


class Estimate(msgspec.Struct, frozen=True):
    """A value and its 95 % interval; null: it cannot be told from these rows."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


class Metrics(msgspec.Struct, frozen=True):
    """How well scores order what happened, and how well they fit it.

    `log_loss`, `brier` and `calibration_error` are null unless every score lies between 0 and 1.
    """

    auc: Estimate = Estimate()
    average_precision: Estimate = Estimate()
    log_loss: Estimate = Estimate()
    brier: Estimate = Estimate()
    calibration_error: Estimate = Estimate()


class Decided(msgspec.Struct, frozen=True):
    """How good the decisions are, at the model's own threshold."""

    precision: Estimate
    recall: Estimate
    f1: Estimate


class Bin(msgspec.Struct, frozen=True):
    """Rows of neighbouring scores; `observed`: the share of positives among them."""

    rows: int
    lowest: float
    highest: float
    mean_score: float
    observed: Estimate


class Decile(msgspec.Struct, frozen=True):
    """A tenth of the rows, 1 with the highest scores.

    `lift`: its share of positives over that of all rows. `gain`: the part of all positives in it and those above.
    """

    decile: int
    lift: Estimate
    gain: Estimate


class Curve(msgspec.Struct, frozen=True):
    """ROC: x false, y true positive rate. Precision-recall: x recall, y precision. Empty without both answers."""

    x: list[float]
    y: list[float]


class Histogram(msgspec.Struct, frozen=True):
    """Rows by score, m counts between m + 1 edges, which both models share."""

    edges: list[float]
    positive: list[int]
    negative: list[int]


class Side(msgspec.Struct, frozen=True):
    """One of the two models, on the rows that both scored."""

    name: str
    mean_score: float | None
    metrics: Metrics
    decided: Decided
    calibration: list[Bin]
    deciles: list[Decile]
    roc: Curve
    precision_recall: Curve
    histogram: Histogram


class Cell(msgspec.Struct, frozen=True):
    """The rows on which the two decided so; `conversion`: the share of positives."""

    champion_yes: bool
    candidate_yes: bool
    rows: int
    positives: int
    conversion: Estimate


class Change(msgspec.Struct, frozen=True):
    """One row whose score changed much; `index`: its place in what was compared."""

    index: int
    champion: float
    candidate: float
    champion_yes: bool
    candidate_yes: bool
    label: bool


class GroupScores(msgspec.Struct, frozen=True):
    """One model on the rows of a group; null where it has too few of one answer."""

    mean_score: float
    auc: Estimate
    average_precision: Estimate


class GroupDifference(msgspec.Struct, frozen=True):
    """Candidate less champion, paired."""

    auc: Estimate
    average_precision: Estimate


class Group(msgspec.Struct, frozen=True):
    """A day (`2024-05-01`, UTC) or a value of a segment (null: not known); `enough`: rows of both answers for AUC and the like."""

    value: str | None
    rows: int
    users: int
    positives: int
    enough: bool
    conversion: Estimate
    champion: GroupScores
    candidate: GroupScores
    difference: GroupDifference


class Counts(msgspec.Struct, frozen=True):
    """Rows given, and how many of them both models scored; users, positives and conversion are of the latter."""

    rows: int
    compared: int
    without_champion: int
    without_candidate: int
    users: int
    positives: int
    conversion: Estimate


class Comparison(msgspec.Struct, frozen=True):
    """Two models on the same rows. Differences are candidate less champion, paired.

    `better`: by AUC and average precision, where an interval leaves out 0; `neither`: none does; `mixed`: they disagree;
    `unknown`: there is no interval. `how`: sentences that say how intervals and bins were made. `candidate_on_every_row`: that
    model also where the champion gave no score, without intervals; null when there is no such row.
    """

    seed: int
    resamples: int
    how: list[str]
    better: Better
    counts: Counts
    champion: Side
    candidate: Side
    difference: Metrics
    decided_difference: Decided
    cells: list[Cell]
    changes: list[Change]
    days: list[Group]
    segments: dict[str, list[Group]]
    candidate_on_every_row: Metrics | None
