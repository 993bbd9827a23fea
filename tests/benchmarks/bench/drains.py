"""How fast each side answers what waits for it: in every round ours and each rival get the same actions, and their answers are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from infra.config import Settings
from infra.contracts.load import load_contracts
from jobs.clickstream import Clickstream, Row
from jobs.scoring_parts import SOURCE_TOPIC
from tests.benchmarks.actions import Section, records, section_rows
from tests.benchmarks.answers import Answers, AnswersWrong, answered_of, faults, unequal
from tests.benchmarks.bench.calm import Watch
from tests.benchmarks.bench.legs import OURS, Leg, Run, counted
from tests.benchmarks.bench.ratios import DRAIN
from tests.benchmarks.drain import Drain, drain
from tests.benchmarks.rivals.sides import rival_side
from tests.benchmarks.sides import Side

_WARM = 2000
"""Actions that each rival answers before it is measured; ours has answered as many and more."""


@dataclass(frozen=True)
class Plan:
    """`actions` in each drain of ours; `rivals`: how many of those each gets, a slow one fewer; `rounds` that count are wanted of each.

    `more_rounds`: so many are added at most where some were disturbed.
    """

    actions: int
    rivals: dict[str, int]
    rounds: int
    more_rounds: int

    def sections(self) -> list[Section]:
        """All actions that may be sent."""
        warm = [Section("warm", max(_WARM, 2 * self.actions))]  # Java compiles meanwhile what it runs often
        return warm + [Section(f"round{number}", self.actions) for number in range(1, self.rounds + self.more_rounds + 1)]


def drains(run: Run, ours: Side, clickstream: Clickstream, plan: Plan) -> None:
    """Rounds until each side has enough that count.

    Raises:
        AnswersWrong: a side left an action unanswered, answered one twice, or otherwise than ours.

    """
    warm, *sections = plan.sections()
    warm_rows = list(section_rows(clickstream, warm))
    warm_answers = drained(run.settings, ours, warm_rows)[1]
    for number, section in enumerate(sections, 1):
        rows = list(section_rows(clickstream, section))
        wanted = [side for side in (OURS, *plan.rivals) if _is_wanted(side, run.legs, plan, run.calm.undisturbed)]
        if not wanted:
            break
        # ours goes first, so that there is something to compare with; the rivals in another order each time
        turn = number % max(1, len(plan.rivals))
        order = [*plan.rivals][turn:] + [*plan.rivals][:turn]
        (one, answers), calibration = run.calm.around(partial(drained, run.settings, ours, rows))
        found = [Leg(DRAIN, OURS, number, calibration, _figures(one))]
        for side in (rival for rival in order if rival in wanted):
            few = rows[: plan.rivals[side]]
            few_warm = warm_rows[: min(_WARM, len(few))]
            with rival_side(run.settings, side, f"{side.replace('_', '-')}-{number}") as rival:
                _same(side, warm_answers, few_warm, drained(run.settings, rival, few_warm)[1])
                (one, theirs), calibration = run.calm.around(partial(drained, run.settings, rival, few))
                found.append(Leg(DRAIN, side, number, calibration, _figures(one)))
            _same(side, answers, few, theirs)
        run.legs.extend(found)
        run.say(f"round {number}: " + ", ".join(map(_said, found)))


def _said(leg: Leg) -> str:
    return f"{leg.side} {leg.figures['per_second']:,.0f}/s" + ("" if leg.calibration.is_calm else " (disturbed)")


def _is_wanted(side: str, legs: Sequence[Leg], plan: Plan, undisturbed: float) -> bool:
    mine = [leg for leg in legs if (leg.part, leg.side) == (DRAIN, side)]
    return len(counted(mine, undisturbed)) < plan.rounds and len(mine) < plan.rounds + plan.more_rounds


def drained(settings: Settings, side: Side, rows: Sequence[Row], watch: Watch | None = None) -> tuple[Drain, Answers]:
    """One drain of these actions, each answered once. `watch` sees the drain alone, without the sending before and the reading after.

    Raises:
        AnswersWrong: that is not so.

    """
    one, sent, got = drain(settings, side, records(rows, load_contracts().topics[SOURCE_TOPIC].partitions), watch)
    if said := faults(side.name, sent, got):
        raise AnswersWrong("\n".join(said))
    return one, got


def _same(side: str, ours: Answers, rows: Sequence[Row], theirs: Answers) -> None:
    """Compare a rival's answers with ours to the same actions, which may be the first of those that ours had."""
    asked = {orjson.loads(row.value)["eventId"] for row in rows}
    if said := unequal(side, answered_of(ours, asked), theirs):
        raise AnswersWrong("\n".join(said))


def _figures(one: Drain) -> dict[str, Any]:
    """Of one drain, per action: CPU microseconds by group of processes; peak MiB by group."""
    return {
        "actions": one.actions,
        "per_second": one.rate,
        "committed_per_second": one.actions / one.committed_seconds,
        "cpu_us": {name: seconds / one.actions * 1e6 for name, seconds in one.cpu_seconds.items()},
        "cpu_us_in_all": one.cpu_seconds_in_all / one.actions * 1e6,
        "peak_mib": {name: size / 2**20 for name, size in one.peak_bytes.items()},
    }
