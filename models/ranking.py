"""Scores that were sorted once -> AUC, average precision and gains under any weights of the rows, in one pass each.

Rows of an equal score are one tie, whatever their order: half credit in AUC, one step in average precision, as in scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ranking:
    """n rows by group, in each the highest score first; t ties among them, g groups with a row at least.

    `order` (n,): the rows' former places. `positive` (n,): 1.0 where the label is true. `ties` (t,): the first row of each.
    `groups` (g,): the first tie of each.
    """

    order: NDArray[np.int64]
    positive: Floats
    ties: NDArray[np.int64]
    groups: NDArray[np.int64]


@dataclass(frozen=True)
class Steps:
    """Weight of each tie (t,): of its positive rows and of all, and the same summed up from the group's highest score on."""

    positive: Floats
    every: Floats
    positive_so_far: Floats
    every_so_far: Floats


def rank(score: NDArray[np.float32], label: NDArray[np.bool_], group: NDArray[np.int64] | None = None) -> Ranking:
    """Sort n rows. `group` (n,): 0 to g - 1, each occurring; by default one group. Rows of a tie keep their order."""
    n = len(score)
    group = np.zeros(n, np.int64) if group is None else group
    order = np.lexsort((-score, group))
    scores, groups = score[order], group[order]
    new_group = np.ones(n, bool)
    new_group[1:] = groups[1:] != groups[:-1]
    new_tie = new_group.copy()
    new_tie[1:] |= scores[1:] != scores[:-1]
    ties = np.flatnonzero(new_tie)
    return Ranking(order, label[order].astype(np.float64), ties, np.flatnonzero(new_group[ties]))


def steps(ranking: Ranking, weight: Floats) -> Steps:
    """`weight` (n,), not negative, in the ranking's order."""
    positive, every = weight * ranking.positive, weight
    if len(ranking.ties) < len(weight):
        positive, every = np.add.reduceat(positive, ranking.ties), np.add.reduceat(every, ranking.ties)
    return Steps(positive, every, _so_far(ranking, positive), _so_far(ranking, every))


def areas(ranking: Ranking, by: Steps) -> tuple[Floats, Floats]:
    """AUC and average precision of each group (g,); NaN where its rows of any weight are all positive or all negative."""
    if not len(ranking.ties):
        return np.full(len(ranking.groups), np.nan), np.full(len(ranking.groups), np.nan)
    positives = np.add.reduceat(by.positive, ranking.groups)
    negatives = np.add.reduceat(by.every, ranking.groups) - positives
    won = np.multiply(by.positive, -0.5)
    won += by.positive_so_far
    won *= by.every - by.positive
    # where nothing has any weight yet there is no positive either: 0 over the least number is 0
    found = by.positive_so_far / np.maximum(by.every_so_far, np.finfo(np.float64).tiny)
    found *= by.positive
    of_auc, of_precision = np.add.reduceat(won, ranking.groups), np.add.reduceat(found, ranking.groups)
    both = (positives > 0) & (negatives > 0)
    return ratio(of_auc, np.where(both, positives * negatives, 0)), ratio(of_precision, np.where(both, positives, 0))


def gains(by: Steps, shares: Floats) -> Floats:
    """Of one group: the share of its positive weight among the highest-scored `shares` of all weight; NaN without a positive.

    A share that ends within a tie takes an even part of it.
    """
    if not len(by.every) or by.positive_so_far[-1] == 0:
        return np.full(len(shares), np.nan)
    every, positive = np.concatenate(([0.0], by.every_so_far)), np.concatenate(([0.0], by.positive_so_far))
    reached: Floats = np.interp(shares * every[-1], every, positive) / positive[-1]
    return reached


def curves(by: Steps, points: int) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Of one group, at most `points` of its curves: (false, true positive rate) and (recall, precision); empty without both answers."""
    none = np.zeros(0)
    if not len(by.every) or not 0 < by.positive_so_far[-1] < by.every_so_far[-1]:
        return (none, none), (none, none)
    tpr = by.positive_so_far / by.positive_so_far[-1]
    negative = by.every_so_far - by.positive_so_far
    fpr = negative / negative[-1]
    # evenly along the curve's own length, so that its steep part keeps its points too
    kept = _thinned(fpr + tpr, points - 1)
    roc = np.concatenate(([0.0], fpr[kept])), np.concatenate(([0.0], tpr[kept]))
    kept = _thinned(tpr, points)
    return roc, (tpr[kept], by.positive_so_far[kept] / by.every_so_far[kept])


def ratio(above: Floats, below: Floats) -> Floats:
    """Element by element; NaN where `below` is 0."""
    result: Floats = np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below != 0)
    return result


def _so_far(ranking: Ranking, of_tie: Floats) -> Floats:
    total = np.empty_like(of_tie)
    ends = np.append(ranking.groups, len(of_tie))[1:]
    for first, end in zip(ranking.groups.tolist(), ends.tolist(), strict=True):
        np.cumsum(of_tie[first:end], out=total[first:end])
    return total


def _thinned(rising: Floats, points: int) -> NDArray[np.int64]:
    """Places of at most `points` values, the first and the last among them."""
    if len(rising) <= points:
        return np.arange(len(rising))
    places: NDArray[np.int64] = np.searchsorted(rising, np.linspace(rising[0], rising[-1], points))
    kept: NDArray[np.int64] = np.unique(places.clip(0, len(rising) - 1))
    return kept
