"""Two models' scores of the same actions and what happened next -> which is better, by how much, how surely, and where.

Pure: the same rows and the same seed give the same comparison.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.compared import (
    Better,
    Bin,
    Cell,
    Change,
    Comparison,
    Counts,
    Curve,
    Decided,
    Decile,
    Estimate,
    Histogram,
    Metrics,
    Side,
)
from models.grouped import ROWS_OF_EACH, USERS_OF_EACH, Grouped, coded, count
from models.intervals import Floats, Spread, Statistics, number, resampled
from models.ranking import areas, curves, gains, rank, ratio, steps

DAY = 24 * 60 * 60_000
BINS, DECILES, POINTS, BARS, CHANGES, GROUP_RESAMPLES = 10, 10, 200, 40, 20, 50
_SHARES = np.arange(1, DECILES + 1) / DECILES
_METRICS = ("auc", "average_precision", "log_loss", "brier", "calibration_error")
_BOUNDS = {"auc": 1.0, "average_precision": 1.0, "log_loss": np.inf, "brier": 1.0, "calibration_error": 1.0}
_DECIDED = ("precision", "recall", "f1")


@dataclass(frozen=True)
class Scored:
    """n actions whose label is known, in log order.

    `user` (n,): codes of users. `time` (n,): ms of event time. `label` (n,): what happened next. `champion`, `candidate` (n,):
    scores; NaN: the live system gave no prediction for it. `champion_yes`, `candidate_yes` (n,): the decisions. `segments`:
    by the segment's name, such as platform, a value for each action (None: not known).
    """

    user: NDArray[np.int64]
    time: NDArray[np.int64]
    label: NDArray[np.bool_]
    champion: NDArray[np.float32]
    candidate: NDArray[np.float32]
    champion_yes: NDArray[np.bool_]
    candidate_yes: NDArray[np.bool_]
    segments: Mapping[str, list[str | None]]


def compare(scored: Scored, champion: str, candidate: str, seed: int, resamples: int = 200) -> Comparison:
    """Compare on the rows that both models scored. `champion`, `candidate`: their names; `resamples`: for the intervals.

    What cannot be told, as from rows with one answer alone, is null. Takes memory of some 100 bytes a row and segment.
    """
    has_champion, has_candidate = np.isfinite(scored.champion), np.isfinite(scored.candidate)
    at = np.flatnonzero(has_champion & has_candidate)
    label, user = scored.label[at], np.unique(scored.user[at], return_inverse=True)[1].astype(np.int64)
    sides = {
        "champion": _Ordered(scored.champion[at], label, user),
        "candidate": _Ordered(scored.candidate[at], label, user),
    }
    decided = _Decisions(scored.champion_yes[at], scored.candidate_yes[at], label, user)
    everything = Spread(lambda weight: _statistics(sides, decided, weight), int(user.max(initial=-1)) + 1)
    by_day, by_segment = _groupings(scored, at, user, label)
    _resample(everything, [by_day, *by_segment.values()], len(at), int(user.max(initial=-1)) + 1, resamples, seed)

    answers = count(label, user, np.zeros(len(at), np.int64), 1)
    trusted = bool(answers.enough[0])
    range_of = _range(scored.champion[at], scored.candidate[at])
    metrics = {name: _metrics(everything, trusted, f"{name}.") for name in sides}
    difference = _metrics(everything, trusted, "candidate.", "champion.")
    every = np.flatnonzero(has_candidate)
    return Comparison(
        seed=seed,
        resamples=resamples,
        how=_how(resamples),
        better=better(difference.auc, difference.average_precision),
        counts=Counts(
            rows=len(scored.label),
            compared=len(at),
            without_champion=int((~has_champion).sum()),
            without_candidate=int((~has_candidate).sum()),
            users=int(answers.users[0]),
            positives=int(answers.positives[0]),
            conversion=everything.rates("conversion", answers.rows, answers.users)[0],
        ),
        champion=_side(champion, "champion", sides["champion"], everything, metrics["champion"], trusted, range_of),
        candidate=_side(candidate, "candidate", sides["candidate"], everything, metrics["candidate"], trusted, range_of),
        difference=difference,
        decided_difference=_decided(everything, trusted, "candidate.", "champion."),
        cells=decided.cells(everything),
        changes=_changes(scored, at),
        days=by_day.groups(),
        segments={name: grouped.groups() for name, grouped in by_segment.items()},
        candidate_on_every_row=_alone(scored, every) if len(every) > len(at) else None,
    )


def better(auc: Estimate, average_precision: Estimate) -> Better:
    """What two paired differences, candidate less champion, say together."""
    signs = set()
    for one in (auc, average_precision):
        if one.low is not None and one.high is not None:
            signs.add(1 if one.low > 0 else -1 if one.high < 0 else 0)
    if not signs:
        return "unknown"
    if {1, -1} <= signs:
        return "mixed"
    return "candidate" if 1 in signs else "champion" if -1 in signs else "neither"


class _Ordered:
    """One model's rows, sorted once; statistics under any weights of the users."""

    def __init__(self, score: NDArray[np.float32], label: NDArray[np.bool_], user: NDArray[np.int64]) -> None:
        self.ranking = rank(score, label)
        order = self.ranking.order
        self.user, self.score = user[order].astype(np.int32), score[order].astype(np.float64)
        self.is_probability = bool(((score >= 0) & (score <= 1)).all())
        truth, tiny = self.ranking.positive, np.finfo(np.float64).eps
        sure = self.score.clip(tiny, 1 - tiny)
        self._log_loss = -np.log(np.where(truth == 1, sure, 1 - sure))
        self._squared, self._beyond = (self.score - truth) ** 2, self.score - truth
        # whole ties into a bin, by the middle of their ranks: rows of one score are not told apart
        ends = np.append(self.ranking.ties, len(score))[1:]
        bin_of = ((self.ranking.ties + ends) * BINS // max(1, 2 * len(score))).clip(0, BINS - 1)
        self.bins = self.ranking.ties[np.flatnonzero(np.diff(bin_of, prepend=-1))]

    def statistics(self, weight: Floats) -> Statistics:
        drawn = weight[self.user]
        by = steps(self.ranking, drawn)
        auc, average_precision = areas(self.ranking, by)
        gain = gains(by, _SHARES)
        total = np.array([drawn.sum()])
        lift: Floats = np.diff(gain, prepend=0.0).astype(np.float64) * DECILES
        found: dict[str, Floats] = {"auc": auc, "average_precision": average_precision, "gain": gain, "lift": lift}
        if not len(drawn):
            nothing = np.full(1, np.nan)
            return {**found, **dict.fromkeys(_METRICS, nothing), "observed": np.zeros(0)}
        found["observed"] = ratio(np.add.reduceat(drawn * self.ranking.positive, self.bins), np.add.reduceat(drawn, self.bins))
        if not self.is_probability:
            return {**found, **dict.fromkeys(_METRICS[2:], np.full(1, np.nan))}
        found["log_loss"] = ratio((drawn * self._log_loss).sum(keepdims=True), total)
        found["brier"] = ratio((drawn * self._squared).sum(keepdims=True), total)
        found["calibration_error"] = ratio(np.abs(np.add.reduceat(drawn * self._beyond, self.bins)).sum(keepdims=True), total)
        return found

    def calibration(self, observed: Sequence[Estimate]) -> list[Bin]:
        ends = np.append(self.bins, len(self.score))[1:]
        bins = []
        for first, end, share in zip(self.bins.tolist(), ends.tolist(), observed, strict=True):
            part = self.score[first:end]
            bins.append(Bin(end - first, _known(part[-1]), _known(part[0]), _known(part.mean()), share))
        return bins[::-1]

    def bin_counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and users of each bin."""
        rows = np.diff(np.append(self.bins, len(self.score)))
        return rows, np.array([len(np.unique(part)) for part in np.split(self.user, self.bins[1:])][: len(rows)], np.int64)


class _Decisions:
    """What both decided, and whether it was right: eight kinds of rows."""

    def __init__(
        self, champion: NDArray[np.bool_], candidate: NDArray[np.bool_], label: NDArray[np.bool_], user: NDArray[np.int64]
    ) -> None:
        self._kind, self._user = 4 * champion + 2 * candidate + label.astype(np.int64), user
        self._users = [len(np.unique(user[self._kind // 2 == cell])) for cell in range(4)]

    def statistics(self, weight: Floats) -> Statistics:
        rows: Floats = np.bincount(self._kind, weight[self._user], 8).astype(np.float64).reshape(2, 2, 2)  # champion, candidate, label
        total, true = np.array([rows.sum()]), np.array([rows[..., 1].sum()])
        found = {"cell": ratio(rows[..., 1], rows.sum(2)).ravel(), "conversion": ratio(true, total)}
        for name, yes in (("champion", rows[1].sum(0)), ("candidate", rows[:, 1].sum(0))):
            right, said = yes[1:], yes.sum(keepdims=True)
            found[f"{name}.precision"], found[f"{name}.recall"] = ratio(right, said), ratio(right, true)
            found[f"{name}.f1"] = ratio(2 * right, said + true)
        return found

    def cells(self, spread: Spread) -> list[Cell]:
        rows = np.bincount(self._kind, minlength=8).reshape(4, 2)
        shares = spread.rates("cell", rows.sum(1), np.array(self._users))
        return [Cell(i >= 2, i % 2 == 1, int(rows[i].sum()), int(rows[i, 1]), share) for i, share in enumerate(shares)]


def _statistics(sides: Mapping[str, _Ordered], decided: _Decisions, weight: Floats) -> Statistics:
    found = dict(decided.statistics(weight))
    for name, side in sides.items():
        found |= {f"{name}.{key}": value for key, value in side.statistics(weight).items()}
    return found


def _groupings(
    scored: Scored, at: NDArray[np.int64], user: NDArray[np.int64], label: NDArray[np.bool_]
) -> tuple[Grouped, dict[str, Grouped]]:
    both = scored.champion[at], scored.candidate[at]
    days, of_day = np.unique(scored.time[at] // DAY, return_inverse=True)
    by_day = Grouped([str(np.datetime64(day, "D")) for day in days.tolist()], of_day.astype(np.int64), user, label, *both)
    by_segment = {}
    for name, values in scored.segments.items():
        names, code = coded([values[i] for i in at.tolist()])
        by_segment[name] = Grouped(names, code, user, label, *both)
    return by_day, by_segment


def _resample(everything: Spread, groups: Sequence[Grouped], rows: int, users: int, resamples: int, seed: int) -> None:
    for i, weight in enumerate(resampled(users, resamples if rows else 0, seed)):
        everything.add(weight)
        if i < GROUP_RESAMPLES:
            for grouped in groups:
                grouped.spread.add(weight)


def _metrics(spread: Spread, trusted: bool, *prefixes: str) -> Metrics:
    told = {}
    for name in _METRICS:
        highest = _BOUNDS[name]
        lowest = -highest if len(prefixes) > 1 else 0
        told[name] = spread.estimates(*(p + name for p in prefixes), lowest=lowest, highest=highest, trusted=trusted)[0]
    return Metrics(**told)


def _decided(spread: Spread, trusted: bool, *prefixes: str) -> Decided:
    lowest = -1 if len(prefixes) > 1 else 0
    names = {name: [p + name for p in prefixes] for name in _DECIDED}
    return Decided(**{name: spread.estimates(*of, lowest=lowest, highest=1, trusted=trusted)[0] for name, of in names.items()})


def _side(name: str, key: str, rows: _Ordered, spread: Spread, metrics: Metrics, trusted: bool, between: tuple[float, float]) -> Side:
    lifts = spread.estimates(f"{key}.lift", lowest=0, trusted=trusted)
    reached = spread.estimates(f"{key}.gain", lowest=0, highest=1, trusted=trusted)
    roc, precision_recall = curves(steps(rows.ranking, np.ones(len(rows.user))), POINTS)
    truth = rows.ranking.positive == 1
    positive, edges = np.histogram(rows.score[truth], BARS, between)
    negative, _ = np.histogram(rows.score[~truth], BARS, between)
    return Side(
        name=name,
        mean_score=_known(rows.score.mean()) if len(rows.score) else None,
        metrics=metrics,
        decided=_decided(spread, trusted, f"{key}."),
        calibration=rows.calibration(spread.rates(f"{key}.observed", *rows.bin_counts())),
        deciles=[Decile(i + 1, lift, gain) for i, (lift, gain) in enumerate(zip(lifts, reached, strict=True))],
        roc=_curve(roc),
        precision_recall=_curve(precision_recall),
        histogram=Histogram([_known(edge) for edge in edges], positive.tolist(), negative.tolist()),
    )


def _curve(points: tuple[Floats, Floats]) -> Curve:
    return Curve([_known(x) for x in points[0]], [_known(y) for y in points[1]])


def _range(*scores: NDArray[np.float32]) -> tuple[float, float]:
    lowest, highest = (float(f([f(s, initial=0.0) for s in scores])) for f in (np.min, np.max))
    return lowest, highest if highest > lowest else lowest + 1


def _changes(scored: Scored, at: NDArray[np.int64]) -> list[Change]:
    change = np.abs(scored.candidate[at].astype(np.float64) - scored.champion[at])
    chosen = at[np.argsort(-change, kind="stable")[: min(CHANGES, int((change > 0).sum()))]]
    return [
        Change(
            index=i,
            champion=_known(scored.champion[i]),
            candidate=_known(scored.candidate[i]),
            champion_yes=bool(scored.champion_yes[i]),
            candidate_yes=bool(scored.candidate_yes[i]),
            label=bool(scored.label[i]),
        )
        for i in chosen.tolist()
    ]


def _alone(scored: Scored, at: NDArray[np.int64]) -> Metrics:
    rows = _Ordered(scored.candidate[at], scored.label[at], np.zeros(len(at), np.int64))
    return _metrics(Spread(rows.statistics, 1), False, "")


def _known(value: float) -> float:
    told = number(value)
    assert told is not None
    return told


def _how(resamples: int) -> list[str]:
    return [
        f"95 % intervals: the value and 1.96 standard errors to both sides, from {resamples} resamples that draw whole users, "
        "the same users for both models; a difference is paired. They hold for one metric at a time.",
        f"By day and by segment from the first {min(resamples, GROUP_RESAMPLES)} of these resamples.",
        "Shares (conversion, observed rate) have Wilson's interval, for as many independent rows as their spread over users amounts to.",
        f"AUC and average precision of a day or a segment, and every interval of a metric, need {ROWS_OF_EACH} rows with the "
        f"outcome and {ROWS_OF_EACH} without, each of {USERS_OF_EACH} users at least; otherwise they are left out.",
        f"Calibration error: the mean distance of score and observed rate over {BINS} bins of equal count; rows of one score are "
        "in one bin. A perfect model's is above 0, too, by chance.",
        "Deciles: a score that reaches over a border is shared out evenly.",
    ]
