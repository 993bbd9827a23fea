"""What the bench promises to tell: each ratio with its target. Ours counts by its worst run, a rival by its best.

Where both sides are ours, and where growth is asked for, medians count, and the range is told beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

from infra.config import AT_LEAST_ONCE, EXACTLY_ONCE
from tests.benchmarks.bench.exponents import exponent
from tests.benchmarks.bench.legs import OURS, Leg, values

ROWS, FIELDS, BLOBS = ("rows",), ("fields",), ("blobs",)
FRAMEWORKS = ("quix", "bytewax", "pathway")
INTERVALS = ("100ms", "250ms", "1s", "5s")
"""Checkpoint intervals of the curve; 1s is the default."""
DRAIN, READS, FRESH, FRESH_LOADED = "drain", "feature reads", "freshness", "freshness beside load"
GUARANTEES = "guarantees"
FEAST, FEAST_VECTORS = "feast", "feast_vectors"
PER_SECOND = 2000


def latency(interval: str) -> str:
    """The part that measures latency at a checkpoint interval."""
    return f"latency, checkpoint every {interval}"


def growth_of(axis: str) -> str:
    """The part that measures how cost grows with one thing."""
    return f"growth, {axis}"


@dataclass(frozen=True)
class Value:
    """A ratio as it came out, and what it was made from, in one sentence."""

    number: float
    made_of: str
    runs: int
    disturbed: bool = False
    """The machine was at no time calm for a side of it: the number is told and decides nothing."""


@dataclass(frozen=True)
class Ratio:
    """`target`: at least so much, or at most where `at_most`. `of` answers None where the run did not measure it."""

    name: str
    what: str
    target: float
    unit: str
    of: Callable[[Sequence[Leg]], Value | None]
    at_most: bool = False

    def is_met(self, value: Value) -> bool:
        """Whether the target is reached."""
        return value.number <= self.target if self.at_most else value.number >= self.target

    @property
    def wanted(self) -> str:
        """The target in words."""
        return f"{'at most' if self.at_most else 'at least'} {self.target:,g}{self.unit}"


def _faster_than(rivals: Sequence[str], legs: Sequence[Leg]) -> Value | None:
    ours = values(legs, DRAIN, OURS, "per_second")
    theirs = {side: rates for side in rivals if (rates := values(legs, DRAIN, side, "per_second"))}
    if not ours or not theirs:
        return None
    best = max(theirs, key=lambda side: max(theirs[side]))
    told = f"{min(ours):,.0f} actions/s, our worst of {len(ours)}, over {max(theirs[best]):,.0f}, the best of {best} in {len(theirs[best])}"
    return Value(min(ours) / max(theirs[best]), told, len(ours))


def _rate(legs: Sequence[Leg]) -> Value | None:
    found = values(legs, DRAIN, OURS, "per_second")
    return Value(min(found), f"from {min(found):,.0f} to {max(found):,.0f} in {len(found)} runs", len(found)) if found else None


def _waits(interval: str, figure: str, legs: Sequence[Leg]) -> Value | None:
    return _worst(values(legs, latency(interval), OURS, figure), f"at {PER_SECOND:,} actions/s")


def _reads(rival: str, legs: Sequence[Leg]) -> Value | None:
    ours, theirs = (values(legs, READS, side, "rows_per_second") for side in (OURS, rival))
    if not ours or not theirs:
        return None
    told = f"{min(ours):,.0f} rows/s, our worst of {len(ours)}, over {max(theirs):,.0f}, Feast's best of {len(theirs)}"
    return Value(min(ours) / max(theirs), told, len(ours))


def _fresh(part: str, figure: str, legs: Sequence[Leg]) -> Value | None:
    beside = f"beside {PER_SECOND:,} actions/s" if part == FRESH_LOADED else "on a stack that has nothing else to do"
    actions = sum(values(legs, part, OURS, "actions"))
    return _worst(values(legs, part, OURS, figure), f"of {actions:,} actions in all, one after the other, {beside}")


def _worst(found: Sequence[float], how: str) -> Value | None:
    told = f"from {min(found):,.1f} to {max(found):,.1f} ms in {len(found)} runs, {how}" if found else ""
    return Value(max(found), told, len(found)) if found else None


def _seconds(interval: str) -> float:
    return float(interval.removesuffix("ms")) if interval.endswith("ms") else 1000 * float(interval.removesuffix("s"))


def _price(legs: Sequence[Leg]) -> Value | None:
    """Median over median: both sides are ours, so neither is to be flattered."""
    rates = [values(legs, GUARANTEES, delivery, "per_second") for delivery in (EXACTLY_ONCE, AT_LEAST_ONCE)]
    if not all(rates):
        return None
    committed = [median(values(legs, GUARANTEES, delivery, "committed_per_second")) for delivery in (EXACTLY_ONCE, AT_LEAST_ONCE)]
    exactly, at_least = (
        f"{median(found):,.0f} actions/s ({min(found):,.0f} to {max(found):,.0f} in {len(found)}; {until:,.0f} until committed)"
        for found, until in zip(rates, committed, strict=True)
    )
    told = f"medians until the last answer is appended: {exactly} over {at_least}"
    return Value(median(rates[0]) / median(rates[1]), told, min(map(len, rates)))


def _grows(axis: str, unit: str, how: str, legs: Sequence[Leg]) -> Value | None:
    """The exponent through the medians; only where each point that was to be measured was."""
    there = [leg for leg in legs if leg.part == growth_of(axis)]
    costs: dict[float, list[float]] = {}
    models: dict[float, list[float]] = {}
    for leg in there:
        costs.setdefault(leg.figures["at"], []).extend(leg.figures["each"])
        models.setdefault(leg.figures["at"], []).extend(leg.figures.get("model_us", ()))
    found = exponent(costs)
    if found is None or {leg.figures["point"] for leg in there} != set(there[0].figures["points"]):
        return None
    numbers = ", ".join(f"{at:,.0f}: {median(costs[at]):,.3g}" for at in sorted(costs))
    told = f"{unit}, {how}: {numbers}; exponent from {found.least:.3f} to {found.most:.3f}"
    if axis == "trees" and all(models.values()) and (alone := exponent(models)) is not None:
        told += f"; of the model alone {alone.fitted:.3f}"
    return Value(found.fitted, told, min(map(len, costs.values())))


RATIOS = (
    Ratio("R1 rows", "exactly once, beside a loop that answers one by one, at least once", 12, "x", partial(_faster_than, ROWS)),
    Ratio("R1 fields", "beside a loop that reads fields in batches, at least once", 1.3, "x", partial(_faster_than, FIELDS)),
    Ratio("R1 blobs", "beside a loop that reads one blob a user in batches, at least once", 0.5, "x", partial(_faster_than, BLOBS)),
    Ratio("R1 rate", "actions a second, broker and store on the same cores", 60_000, "/s", _rate),
    Ratio("R2", "beside the best of Quix Streams, Bytewax and Pathway at their best guarantees", 5, "x", partial(_faster_than, FRAMEWORKS)),
    Ratio("R4 p50", "until a prediction is there, uncommitted, median", 4, " ms", partial(_waits, "1s", "uncommitted_p50"), at_most=True),
    Ratio("R4 p99", "the same, 99th percentile", 20, " ms", partial(_waits, "1s", "uncommitted_p99"), at_most=True),
    *(
        Ratio(
            f"R4 commit {interval}",
            f"until it is committed, checkpoint every {interval}, 99th percentile",
            _seconds(interval) + 200,
            " ms",
            partial(_waits, interval, "committed_p99"),
            at_most=True,
        )
        for interval in INTERVALS
    ),
    Ratio("R5", "throughput exactly once over at least once, checkpoint every 1s", 0.97, "x", _price),
    Ratio("R6 reads", "features of 512 users a read, beside Feast's get_online_features", 50, "x", partial(_reads, FEAST)),
    Ratio("R6 vectors", "the same beside Feast with vectors made beforehand, old at each action", 50, "x", partial(_reads, FEAST_VECTORS)),
    Ratio("R6 fresh p50", "until a plain Feast reader sees an action, median", 50, " ms", partial(_fresh, FRESH, "p50"), at_most=True),
    Ratio("R6 fresh p99", "the same, 99th percentile", 500, " ms", partial(_fresh, FRESH, "p99"), at_most=True),
    Ratio("R6 loaded p50", "the same beside 2,000 actions a second, median", 50, " ms", partial(_fresh, FRESH_LOADED, "p50"), at_most=True),
    Ratio("R6 loaded p99", "the same, 99th percentile", 500, " ms", partial(_fresh, FRESH_LOADED, "p99"), at_most=True),
    *(
        Ratio(f"R8 {axis}", what, target, "", partial(_grows, axis, "CPU us an action of the scoring path and Redis", how), at_most=True)
        for axis, what, target, how in (
            ("users", "growth of CPU an action with users, exponent", 0.05, "by users in the store"),
            ("features", "growth with features, in fold, store, model and prediction", 1, "by features"),
            ("trees", "growth with trees", 1, "by trees of a model that takes all features"),
            ("size", "growth with the size of an event", 1, "by bytes"),
            ("partitions", "growth with partitions", 1, "by partitions, all of which are in each batch"),
        )
    ),
    Ratio(
        "R8 commits",
        "growth of a commit to the ledger of receipts with the commits before it",
        1,
        "",
        partial(_grows, "commits", "ms a commit with its upkeep", "by commits"),
        at_most=True,
    ),
)
