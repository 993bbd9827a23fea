"""How fast each side answers what waits for it: in every round ours and each rival get the same actions, and their answers are compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from infra.config import Settings
from infra.contracts.load import load_contracts
from jobs.clickstream import Clickstream, Row
from jobs.scoring_parts import SOURCE_TOPIC
from tests.benchmarks.actions import Section, records, section_rows
from tests.benchmarks.answers import Answers, AnswersWrong, action_ids, faults, unequal
from tests.benchmarks.bench.calm import Calibration, Calm
from tests.benchmarks.bench.legs import OURS, Leg
from tests.benchmarks.bench.ratios import DRAIN
from tests.benchmarks.drain import Drain, drain
from tests.benchmarks.rivals.sides import rival_side
from tests.benchmarks.sides import Side

_WARM = 2000
"""Actions that each rival answers before it is measured; ours has answered as many and more."""
_MORE_ROUNDS = 3
"""So many rounds are added where some were disturbed."""


@dataclass(frozen=True)
class Plan:
    """`actions` in each drain of ours; `rivals`: how many of those each gets, a slow one fewer; `rounds` that count are wanted of each."""

    actions: int
    rivals: dict[str, int]
    rounds: int

    def sections(self) -> list[Section]:
        """All actions that may be sent."""
        warm = [Section("warm", max(_WARM, min(self.actions, 20_000)))]
        return warm + [Section(f"round{number}", self.actions) for number in range(1, self.rounds + _MORE_ROUNDS + 1)]


def drains(settings: Settings, calm: Calm, ours: Side, clickstream: Clickstream, plan: Plan, say: Callable[[str], None]) -> list[Leg]:
    """Rounds until each side has enough that count.

    Raises:
        AnswersWrong: a side left an action unanswered, answered one twice, or otherwise than ours.

    """
    legs: list[Leg] = []
    warm, *sections = plan.sections()
    partitions = load_contracts().topics[SOURCE_TOPIC].partitions
    warm_rows = list(section_rows(clickstream, warm))
    warm_answers = _drained(settings, ours, warm_rows, partitions)[1]
    for number, section in enumerate(sections, 1):
        rows = list(section_rows(clickstream, section))
        wanted = [side for side in (OURS, *plan.rivals) if _is_wanted(side, legs, plan.rounds, calm.undisturbed)]
        if not wanted:
            break
        answers, found = Answers(), []
        # ours goes first, so that there is something to compare with; the rivals in another order each time
        turn = number % max(1, len(plan.rivals))
        order = list(plan.rivals)[turn:] + list(plan.rivals)[:turn]
        for side in (OURS, *(rival for rival in order if rival in wanted)):
            if side == OURS:
                before = calm.look()
                one, answers = _drained(settings, ours, rows, partitions)
            else:
                few = rows[: plan.rivals[side]]
                with rival_side(settings, side, f"{side.replace('_', '-')}-{number}") as rival:
                    few_warm = warm_rows[: min(_WARM, len(few))]
                    _same(side, warm_answers, few_warm, _drained(settings, rival, few_warm, partitions)[1])
                    before = calm.look()
                    one, theirs = _drained(settings, rival, few, partitions)
                    calm_after = calm.look()
                _same(side, answers, few, theirs)
            after = calm.look() if side == OURS else calm_after
            found.append(Leg(DRAIN, side, number, Calibration(before, after, calm.undisturbed), _figures(one)))
        legs += found
        say(f"round {number}: " + ", ".join(f"{leg.side} {leg.figures['per_second']:,.0f}/s{'' if leg.calibration.is_calm else ' (disturbed)'}" for leg in found))
    return legs


def _is_wanted(side: str, legs: Sequence[Leg], rounds: int, undisturbed: float) -> bool:
    mine = [leg for leg in legs if leg.side == side]
    calm = [leg for leg in mine if Calibration(leg.calibration.before, leg.calibration.after, undisturbed).is_calm]
    return len(calm) < rounds and len(mine) < rounds + _MORE_ROUNDS


def _drained(settings: Settings, side: Side, rows: Sequence[Row], partitions: int) -> tuple[Drain, Answers]:
    one, sent, got = drain(settings, side, records(rows, partitions))
    if said := faults(side.name, sent, got):
        raise AnswersWrong("\n".join(said))
    return one, got


def _same(side: str, ours: Answers, rows: Sequence[Row], theirs: Answers) -> None:
    """Compare a rival's answers with ours to the same actions, which may be the first of those that ours had."""
    asked = {orjson.loads(row.value)["eventId"] for row in rows}
    names = action_ids(ours)
    some = replace(ours, of={where: answer for where, answer in ours.of.items() if names[where] in asked})
    if said := unequal(side, some, theirs):
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


