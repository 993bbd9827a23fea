"""How fast the job is and how long actions wait, by each of its settings: the curves from which the defaults were chosen.

    .streamhouse/env/bin/python -m tests.benchmarks.curves [--only gather,linger] [--rounds R] [--write docs/settings.md]

One setting is changed at a time, all others stay as they come. In each round every value has its turn, on one stack, the job started anew:
a drain for throughput and CPU, then an open load for waits. Every answer is checked. `--write` puts the tables between the page's marks.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from infra.config import ScoreEvents, Settings, load_settings
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError
from infra.whole_files import write_whole
from jobs.clickstream import Clickstream, open_clickstream
from jobs.scoring_parts import SOURCE_TOPIC
from tests.benchmarks.actions import Section, section_rows
from tests.benchmarks.answers import AnswersWrong, faults
from tests.benchmarks.bench.drains import drained, figures
from tests.benchmarks.bench.job import restart
from tests.benchmarks.latency import latency
from tests.benchmarks.place import bring_profiles, machine, stack
from tests.benchmarks.scale import filled
from tests.benchmarks.sides import Side, flink_side

PER_SECOND = 2000


@dataclass(frozen=True)
class Curve:
    """`setting` of [score_events] and the values that it has in turn, its default among them."""

    setting: str
    values: Sequence[object]

    def variable(self, value: object) -> dict[str, str]:
        """What a start of the job is told."""
        return {f"STREAMHOUSE_SCORE_EVENTS_{self.setting.upper()}": str(value)}


CURVES: Mapping[str, Curve] = {
    "gather": Curve("gather_microseconds", (0, 100, 500, 1000, 2000, 4000)),
    "linger": Curve("linger_milliseconds", (0, 1, 2, 5)),
    "rows": Curve("batch_rows", (100, 500, 1000, 2000, 5000)),
    "parallelism": Curve("parallelism", (1, 2, 4)),
    "checkpoints": Curve("checkpoint_interval", ("100ms", "250ms", "1s", "5s")),
}


@dataclass(frozen=True)
class Point:
    """What one turn of one value gave: actions a second, CPU in microseconds an action, waits in ms, cores in use under the load."""

    per_second: float
    cpu_us: float
    p50: float
    p99: float
    committed_p99: float
    cores: float


@dataclass(frozen=True)
class Size:
    """Actions in a drain and before it; seconds of the load, of which the first are not counted."""

    actions: int = 120_000
    warm: int = 60_000
    seconds: int = 8
    cold_seconds: int = 3


def measured(settings: Settings, curves: Sequence[Curve], rounds: int, size: Size) -> dict[str, dict[object, list[Point]]]:
    """Each value's points, by setting, on a stack that is up and applied.

    Raises:
        AnswersWrong: an action was left unanswered or answered twice.

    """
    clickstream = open_clickstream(settings.root / "data" / "shop_clickstream.csv.gz")
    # there and back, so that what drifts does not always meet the same values
    ways = [list if number % 2 == 0 else reversed for number in range(rounds)]
    turns = [(curve, value) for way in ways for curve in curves for value in way(curve.values)]
    sections = [section for number in range(len(turns) + 1) for section in _sections(number, size)]
    bring_profiles(settings, clickstream, sections)
    side = flink_side(settings, "ours")
    numbers, began = itertools.count(), time.monotonic()
    restart(settings, {})
    _turn(settings, side, clickstream, _sections(next(numbers), size), size)  # broker and Redis are cold once
    found: dict[str, dict[object, list[Point]]] = {curve.setting: {value: [] for value in curve.values} for curve in curves}
    for curve, value in turns:
        restart(settings, curve.variable(value))
        point = _turn(settings, side, clickstream, _sections(next(numbers), size), size)
        found[curve.setting][value].append(point)
        told = f"{point.per_second:,.0f}/s, p50 {point.p50:.1f} ms, p99 {point.p99:.1f}"
        print(f"{time.monotonic() - began:6.0f} s  {curve.setting} = {value}: {told}", file=sys.stderr, flush=True)
    return found


def _turn(settings: Settings, side: Side, clickstream: Clickstream, sections: Sequence[Section], size: Size) -> Point:
    warm, whole, load = (list(section_rows(clickstream, section)) for section in sections)
    drained(settings, side, warm)
    drain = figures(*drained(settings, side, whole))
    partitions = load_contracts().topics[SOURCE_TOPIC].partitions
    waits, sent, got = latency(settings, side, load, partitions, PER_SECOND, size.cold_seconds * PER_SECOND)
    if said := faults(side.name, sent, got):
        raise AnswersWrong("\n".join(said))
    seen, committed = (waits.milliseconds[isolation] for isolation in ("read_uncommitted", "read_committed"))
    return Point(drain["per_second"], drain["cpu_us_in_all"], seen["p50"], seen["p99"], committed["p99"], sum(waits.cpu_cores.values()))


def _sections(number: int, size: Size) -> tuple[Section, Section, Section]:
    load = (size.seconds + size.cold_seconds) * PER_SECOND
    return Section(f"w{number:03d}", size.warm), Section(f"d{number:03d}", size.actions), Section(f"l{number:03d}", load)


def tables(found: Mapping[str, Mapping[object, Sequence[Point]]], given: ScoreEvents, said: str) -> dict[str, str]:
    """A table in Markdown by setting, of medians; what is `given` stands bold."""
    made = {}
    for setting, values in found.items():
        lines = [
            f"| `{setting}` | actions/s | CPU µs an action | wait p50 ms | p99 | until committed p99 | cores at {PER_SECOND:,}/s |",
            "|---|---|---|---|---|---|---|",
        ]
        for value, points in values.items():
            names = ("per_second", "cpu_us", "p50", "p99", "committed_p99", "cores")
            rate, cpu, p50, p99, committed, cores = (median(getattr(point, name) for point in points) for name in names)
            named = f"**{value}**" if value == getattr(given, setting) else value
            lines.append(f"| {named} | {rate:,.0f} | {cpu:.1f} | {p50:.1f} | {p99:.1f} | {committed:,.0f} | {cores:.2f} |")
        made[setting] = "\n".join([*lines, "", said])
    return made


def main(
    only: Annotated[str, typer.Option(help="curves to measure, of " + ", ".join(CURVES))] = ",".join(CURVES),
    rounds: Annotated[int, typer.Option(min=1, help="turns of each value; medians are told")] = 3,
    write: Annotated[Path | None, typer.Option(help="the page whose tables are made anew; needs all curves")] = None,
) -> None:
    """Measure the job by its settings. Example: python -m tests.benchmarks.curves --only gather --rounds 1"""
    try:
        names = [name.strip() for name in only.split(",")]
        if unknown := [name for name in names if name not in CURVES]:
            message = f"--only {unknown[0]}: expected some of {', '.join(CURVES)}, with commas between them"
            raise StreamhouseError(message)
        with stack({"REDIS_MAX_MEMORY": "2gb"}, here=False) as settings:
            found = measured(settings, [CURVES[name] for name in names], rounds, Size())
            told = machine(settings, {}, 0.0)
        turns = "One turn of each" if rounds == 1 else f"Medians of {rounds} turns"
        made = tables(found, load_settings().score_events, f"{turns} on {told['cores']} cores, commit {told['commit']}.")
        for text in made.values():
            print(text, end="\n\n")
        if write is not None:
            write_whole(write, filled(write.read_text("utf-8"), made))
    except (StreamhouseError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    typer.run(main)
