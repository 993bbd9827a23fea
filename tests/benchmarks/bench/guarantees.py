"""What exactly once costs: the same job drains the same work in transactions and without them, in turns.

Each drain is of other users who do the same, so each begins with users that nobody has seen. The job starts again where the other
guarantee has its turn, and turns are taken as A B, B A, A B, ..., so that neither side has more of what comes later.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

from infra.config import AT_LEAST_ONCE, EXACTLY_ONCE
from jobs.clickstream import Clickstream
from tests.benchmarks.actions import Section, section_rows
from tests.benchmarks.bench.drains import drained, figures
from tests.benchmarks.bench.job import restart
from tests.benchmarks.bench.legs import TRIES, Run, measured
from tests.benchmarks.bench.ratios import GUARANTEES
from tests.benchmarks.sides import Side

DELIVERIES = (EXACTLY_ONCE, AT_LEAST_ONCE)
_FOLLOW_SECONDS = 3.0
"""In which keeper and meter read the last records and Java compiles for the job that was just started: none of it disturbs the next."""


def turns(rounds: int) -> Iterator[tuple[int, str]]:
    """Round and guarantee, in the order in which they are measured."""
    for number in range(1, rounds + 1):
        for delivery in DELIVERIES if number % 2 else reversed(DELIVERIES):
            yield number, delivery


def sections(rounds: int, actions: int) -> list[Section]:
    """All actions that may be sent: what warms a start up, and each try of each turn."""
    starts = rounds + 1
    return [_section(number, actions) for number in range(starts + 1 + 2 * rounds * TRIES)]


def guarantees(run: Run, ours: Side, clickstream: Clickstream, changed: dict[str, str], actions: int, rounds: int) -> None:
    """Drain `actions` in each turn; `changed`: variables that the job has in throughput's measurements. It is left with the last guarantee.

    Raises:
        AnswersWrong: an action was left unanswered or answered twice, which without a crash neither guarantee allows.

    """
    numbers = itertools.count()

    def drain() -> dict[str, Any]:
        rows = list(section_rows(clickstream, _section(next(numbers), actions)))
        found = figures(*drained(run.settings, ours, rows))
        time.sleep(_FOLLOW_SECONDS)
        return found

    runs_with = None
    for number, delivery in turns(rounds):
        if delivery != runs_with:
            restart(run.settings, {**changed, "STREAMHOUSE_SCORE_EVENTS_DELIVERY": delivery})
            # Java compiles what it runs often, most of it once, and some of each start's own
            for _ in range(2 if runs_with is None else 1):
                drain()
            runs_with = delivery
        last = measured(run, GUARANTEES, delivery, number, drain)[-1].figures
        run.say(
            f"{delivery}: {last['per_second']:,.0f}/s until the last is appended, {last['committed_per_second']:,.0f}/s until committed"
        )


def _section(number: int, actions: int) -> Section:
    return Section(f"turn{number:03d}", actions)  # equally long, as each action's bytes hold it
