"""A leg: one side measured once. What the whole bench found is a list of them, and every ratio is made from that list alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from infra.config import Settings
from tests.benchmarks.bench.calm import Calibration, Calm

OURS = "ours"
TRIES = 3
"""How often a leg is measured, at most, before one is kept that was disturbed."""


@dataclass(frozen=True)
class Leg:
    """What one measurement found. `part`: what was measured (`drain`, `latency 1s`, ...); `figures`: by name, as the part says."""

    part: str
    side: str
    repeat: int
    calibration: Calibration
    figures: dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One run of the bench: the stack, the watch over the machine, whom to tell of progress, and all legs so far.

    `may_retry`: whether there is still time to measure again what was disturbed.
    """

    settings: Settings
    calm: Calm
    say: Callable[[str], None]
    legs: list[Leg] = field(default_factory=list)
    may_retry: Callable[[], bool] = lambda: True


def measured(run: Run, part: str, side: str, repeat: int, measure: Callable[[], dict[str, Any]]) -> list[Leg]:
    """Measure until the machine was calm around it, at most TRIES times and while there is time; all tries are answered, those that do
    not count too.
    """
    legs: list[Leg] = []
    while not legs or (len(legs) < TRIES and run.may_retry()):
        figures, calibration = run.calm.around(lambda _: measure())
        leg = Leg(part, side, repeat, calibration, figures)
        legs.append(leg)
        run.legs.append(leg)
        if leg.calibration.is_calm:
            break
        said = "; ".join(calibration.disturbances(calibration.undisturbed))
        run.say(f"{part}, {side}: the machine was disturbed ({said}); this one does not count")
    return legs


def counted(legs: Iterable[Leg], undisturbed: float) -> list[Leg]:
    """The legs that count, by what is known of the machine at the end."""
    return [leg for leg in legs if not leg.calibration.disturbances(undisturbed)]


def values(legs: Iterable[Leg], part: str, sides: str | Sequence[str], figure: str) -> list[float]:
    """A figure of every leg of a part and its sides that has it."""
    wanted = (sides,) if isinstance(sides, str) else sides
    return [leg.figures[figure] for leg in legs if leg.part == part and leg.side in wanted and leg.figures.get(figure) is not None]
