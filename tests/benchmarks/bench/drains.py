"""How fast each side answers what waits for it: in every round ours and each rival get the same actions, and their answers are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from features.online_keys import row_key
from infra.config import Settings
from infra.contracts.load import load_contracts
from jobs.clickstream import Clickstream, Row
from jobs.scoring_parts import SOURCE_TOPIC
from tests.benchmarks.actions import Section, records, section_rows
from tests.benchmarks.answers import Answers, AnswersWrong, faults, scores, unequal_scores
from tests.benchmarks.bench.calm import Watch
from tests.benchmarks.bench.legs import OURS, Leg, Run, counted
from tests.benchmarks.bench.ratios import DRAIN
from tests.benchmarks.drain import Drain, drain, steady_rate
from tests.benchmarks.rivals.sides import rival_side
from tests.benchmarks.sides import Side, rows_of

_FIRST = Section("first", 2000)
"""Actions that each rival answers before it is measured; ours answers them, too, and more."""


@dataclass(frozen=True)
class Plan:
    """`actions` in each drain of ours; `rivals`: how many each rival gets, a slow one fewer and a quick one more, so that all take long
    enough to be timed; `rounds` that count are wanted of each. `more_rounds`: so many are added at most where some were disturbed.
    `warm_rounds`: how many times that ours answers before it is measured, as Java compiles meanwhile what it and the broker run often.
    """

    actions: int
    rivals: dict[str, int]
    rounds: int
    more_rounds: int
    warm_rounds: int = 2

    def warm(self) -> list[Section]:
        """What ours answers before it is measured, at least as much as the quickest rival gets beside the round's own actions."""
        sections = max(self.warm_rounds, math.ceil(max(self.rivals.values(), default=0) / self.actions) - 1)
        return [Section(f"warm{number}", self.actions) for number in range(1, sections + 1)]

    def measured(self) -> list[Section]:
        """What ours is measured with, one in each round."""
        return [Section(f"round{number}", self.actions) for number in range(1, self.rounds + self.more_rounds + 1)]

    def sections(self) -> list[Section]:
        """All actions that may be sent."""
        return [_FIRST, *self.warm(), *self.measured()]


@dataclass(frozen=True)
class Asked:
    """Actions that ours answered, in their order, and the score that it gave to each, by the action's id. `state`: what Redis held of
    their users before any was answered, which is what a rival begins with.
    """

    rows: list[Row]
    scores: dict[str, float]
    state: dict[bytes, bytes]

    def first(self, actions: int) -> Asked:
        """The first so many of them."""
        if actions >= len(self.rows):
            return self
        rows = self.rows[:actions]
        ids = [orjson.loads(row.value)["eventId"] for row in rows]
        keys = {row_key(row.user_id) for row in rows}
        return Asked(rows, {action: self.scores[action] for action in ids}, {key: self.state[key] for key in keys if key in self.state})

    def __add__(self, other: Asked) -> Asked:
        """These and then those."""
        return Asked(self.rows + other.rows, self.scores | other.scores, self.state | other.state)


def drains(run: Run, ours: Side, clickstream: Clickstream, plan: Plan) -> None:
    """Rounds until each side has enough that count.

    A rival that gets more actions than ours gets the round's own and then those of the warm-up of ours, so that each of its answers is
    compared with one of ours. Sections share no users and each is like the next, so more of them are more of the same work.

    Raises:
        AnswersWrong: a side left an action unanswered, answered one twice, or otherwise than ours.

    """

    def answered(section: Section) -> Asked:
        rows = list(section_rows(clickstream, section))
        state = rows_of(run.settings, (row.user_id for row in rows))
        return Asked(rows, scores(drained(run.settings, ours, rows)[1]), state)

    first, *warm = [answered(section) for section in (_FIRST, *plan.warm())]
    for number, section in enumerate(plan.measured(), 1):
        rows = list(section_rows(clickstream, section))
        wanted = [side for side in (OURS, *plan.rivals) if _is_wanted(side, run, plan)]
        if not wanted:
            break
        # ours goes first, so that there is something to compare with; the rivals in another order each time
        turn = number % max(1, len(plan.rivals))
        order = [*plan.rivals][turn:] + [*plan.rivals][:turn]
        state = rows_of(run.settings, (row.user_id for row in rows))
        (one, answers), calibration = run.calm.around(partial(drained, run.settings, ours, rows))
        found = [Leg(DRAIN, OURS, number, calibration, figures(one, answers))]
        asked = sum(warm, Asked(rows, scores(answers), state))
        del answers
        for side in (rival for rival in order if rival in wanted):
            few = asked.first(plan.rivals[side])
            with rival_side(run.settings, side, f"{side.replace('_', '-')}-{number}", first.state | few.state) as rival:
                _same(side, first, drained(run.settings, rival, first.rows)[1])
                (one, theirs), calibration = run.calm.around(partial(drained, run.settings, rival, few.rows))
                found.append(Leg(DRAIN, side, number, calibration, figures(one, theirs)))
            _same(side, few, theirs)
        run.legs.extend(found)
        run.say(f"round {number}: " + ", ".join(map(_said, found)))


def _said(leg: Leg) -> str:
    return f"{leg.side} {leg.figures['per_second']:,.0f}/s" + ("" if leg.calibration.is_calm else " (disturbed)")


def _is_wanted(side: str, run: Run, plan: Plan) -> bool:
    mine = [leg for leg in run.legs if (leg.part, leg.side) == (DRAIN, side)]
    most = plan.rounds + (plan.more_rounds if run.may_retry() else 0)
    return len(counted(mine, run.calm.undisturbed)) < plan.rounds and len(mine) < most


def drained(settings: Settings, side: Side, rows: Sequence[Row], watch: Watch | None = None) -> tuple[Drain, Answers]:
    """One drain of these actions, each answered once. `watch` sees the drain alone, without the sending before and the reading after.

    Raises:
        AnswersWrong: that is not so.

    """
    one, sent, got = drain(settings, side, records(rows, load_contracts().topics[SOURCE_TOPIC].partitions), watch)
    if said := faults(side.name, sent, got):
        raise AnswersWrong("\n".join(said))
    return one, got


def _same(side: str, ours: Asked, theirs: Answers) -> None:
    """Compare a rival's answers with ours to the same actions."""
    if said := unequal_scores(side, ours.scores, theirs):
        raise AnswersWrong("\n".join(said))


def figures(one: Drain, got: Answers) -> dict[str, Any]:
    """Of one drain: actions a second after its start, and over all of it until they were committed; CPU microseconds an action by group of
    processes; peak MiB by group.
    """
    return {
        "actions": one.actions,
        "seconds": one.seconds,
        "per_second": steady_rate(got.times) or one.rate,
        "with_start_per_second": one.rate,
        "committed_per_second": one.actions / one.committed_seconds,
        "cpu_us": {name: seconds / one.actions * 1e6 for name, seconds in one.cpu_seconds.items()},
        "cpu_us_in_all": one.cpu_seconds_in_all / one.actions * 1e6,
        "peak_mib": {name: size / 2**20 for name, size in one.peak_bytes.items()},
    }
