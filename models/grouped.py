"""The comparison within each day and each value of a segment, with the same resamples as the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.compared import Estimate, Group, GroupDifference, GroupScores
from models.intervals import Floats, Spread, Statistics, number
from models.ranking import Ranking, areas, rank, ratio, steps

ROWS_OF_EACH, USERS_OF_EACH = 10, 5
"""How many positive and how many negative rows, and of how many users, an interval of AUC and the like needs."""


@dataclass(frozen=True)
class Answers:
    """How many rows (g,) of each group have which answer, and how many users have a row of it."""

    rows: NDArray[np.int64]
    users: NDArray[np.int64]
    positives: NDArray[np.int64]
    enough: NDArray[np.bool_]


def count(label: NDArray[np.bool_], user: NDArray[np.int64], group: NDArray[np.int64], groups: int) -> Answers:
    """`user` and `group` (n,): codes from 0."""

    def users(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        width = int(user.max(initial=0)) + 1
        return np.bincount(np.unique(group[mask] * width + user[mask]) // width, minlength=groups)

    rows, positives = np.bincount(group, minlength=groups), np.bincount(group[label], minlength=groups)
    enough = (np.minimum(positives, rows - positives) >= ROWS_OF_EACH) & (np.minimum(users(label), users(~label)) >= USERS_OF_EACH)
    return Answers(rows, users(np.ones(len(label), bool)), positives, enough)


class Grouped:
    """n rows by one grouping: `group` (n,) codes of `values`, each of which has a row."""

    def __init__(
        self,
        values: Sequence[str | None],
        group: NDArray[np.int64],
        user: NDArray[np.int64],
        label: NDArray[np.bool_],
        champion: NDArray[np.float32],
        candidate: NDArray[np.float32],
    ) -> None:
        self._values, self._answers = values, count(label, user, group, len(values))
        self._sides: dict[str, tuple[Ranking, NDArray[np.int64], Floats]] = {}
        for name, score in (("champion", champion), ("candidate", candidate)):
            ranking = rank(score, label, group)
            total: Floats = np.bincount(group, score.astype(np.float64), len(values)).astype(np.float64)
            self._sides[name] = ranking, user[ranking.order].astype(np.int32), ratio(total, self._answers.rows.astype(np.float64))
        self.spread = Spread(self._statistics, int(user.max(initial=-1)) + 1)

    def _statistics(self, weight: Floats) -> Statistics:
        found = {}
        for name, (ranking, user, _) in self._sides.items():
            by = steps(ranking, weight[user])
            found[f"{name}.auc"], found[f"{name}.average_precision"] = areas(ranking, by)
            if name == "champion" and len(user):
                ends = np.append(ranking.groups[1:], len(ranking.ties)) - 1
                found["conversion"] = ratio(by.positive_so_far[ends], by.every_so_far[ends])
        found.setdefault("conversion", np.zeros(0))
        return found

    def groups(self) -> list[Group]:
        """One for each value, in the order of the values."""
        answers = self._answers
        conversion = self.spread.rates("conversion", answers.rows, answers.users)
        made = []
        scores = {name: self._scores(name) for name in self._sides}
        difference = [self._each("candidate." + m, "champion." + m, lowest=-1) for m in ("auc", "average_precision")]
        for i, value in enumerate(self._values):
            auc, precision = (one[i] for one in difference)
            made.append(
                Group(
                    value=value,
                    rows=int(answers.rows[i]),
                    users=int(answers.users[i]),
                    positives=int(answers.positives[i]),
                    enough=bool(answers.enough[i]),
                    conversion=conversion[i],
                    champion=scores["champion"][i],
                    candidate=scores["candidate"][i],
                    difference=GroupDifference(auc, precision),
                )
            )
        return made

    def _scores(self, name: str) -> list[GroupScores]:
        means = self._sides[name][2].tolist()
        areas = zip(means, self._each(f"{name}.auc"), self._each(f"{name}.average_precision"), strict=True)
        return [GroupScores(number(mean) or 0.0, auc, precision) for mean, auc, precision in areas]

    def _each(self, *names: str, lowest: float = 0) -> list[Estimate]:
        told = self.spread.estimates(*names, lowest=lowest, highest=1)
        return [one if enough else Estimate() for one, enough in zip(told, self._answers.enough.tolist(), strict=True)]


def coded(values: Sequence[str | None]) -> tuple[list[str | None], NDArray[np.int64]]:
    """Values with the most rows first, the unknown (None) last; and each row's place among them."""
    rows: dict[str | None, int] = {}
    for value in values:
        rows[value] = rows.get(value, 0) + 1
    names = sorted(rows, key=lambda value: (value is None, -rows[value], value or ""))
    code = {value: i for i, value in enumerate(names)}
    return names, np.fromiter((code[value] for value in values), np.int64, len(values))
