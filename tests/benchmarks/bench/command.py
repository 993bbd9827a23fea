"""Streamhouse beside its rivals, in one run on a stack of its own.

./streamhouse bench [--quick] [--out FOLDER] [--only drain,latency,reads,guarantees,growth,costs]
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated

import orjson
import redis
import typer
from confluent_kafka import KafkaException
from rich.console import Console
from rich.table import Table

from features.apply import feature_store
from infra.config import Settings, load_settings
from infra.errors import StreamhouseError
from infra.whole_files import write_whole
from jobs import interrupts
from jobs.clickstream import open_clickstream
from jobs.scoring_parts import GROUP
from jobs.submit import submit
from tests.benchmarks.actions import Section, section_rows
from tests.benchmarks.bench import costs, growth, guarantees
from tests.benchmarks.bench.calm import Calm
from tests.benchmarks.bench.drains import Plan, drained, drains
from tests.benchmarks.bench.feature_reads import freshness, load_sections, reads
from tests.benchmarks.bench.latencies import latencies, sections
from tests.benchmarks.bench.legs import TRIES, Leg, Run, counted
from tests.benchmarks.bench.page import Report, page, said_of, text
from tests.benchmarks.bench.ratios import INTERVALS
from tests.benchmarks.place import bring_profiles, machine, stack
from tests.benchmarks.processes import own_processes
from tests.benchmarks.rivals.environment import interpreter
from tests.benchmarks.rivals.sides import RIVALS
from tests.benchmarks.sides import flink_side

PARTS = ("drain", "latency", "reads", "guarantees", "growth", "costs")
QUICK_PARTS = tuple(part for part in PARTS if part not in ("guarantees", "costs"))
"""What one turn says something of, which three hundredths are not, and what has ratios: it fits into five minutes, set-up included."""
DEFAULT = "1s"
"""The interval of checkpoints that the settings have, and that comes last, so that the job is left as it was."""
DRAINED_WITH = {"STREAMHOUSE_SCORE_EVENTS_PARALLELISM": 2}
"""For throughput, where one half of the job waits for Python and the other for Java; latency is measured with the settings as they come."""


_ROOM = {"REDIS_MAX_MEMORY": "2gb"}
"""Every drain has users of its own, some hundred thousand in a whole run, whose rows the usual half gigabyte may not hold."""


@dataclasses.dataclass(frozen=True)
class Size:
    """How much is measured. `rivals`: how many actions each gets, so that a drain of each takes long enough to be timed."""

    actions: int
    rounds: int
    more_rounds: int
    warm_rounds: int
    rivals: dict[str, int]
    intervals: tuple[str, ...]
    curve_rounds: int
    """Of every interval but the default."""
    latency_seconds: int
    read_actions: int
    """Whose users are read."""
    read_seconds: float
    fresh: int
    """Actions of which it is told how soon Feast sees each, in each round, on a stack at rest."""
    fresh_seconds: int
    """For how long the same is told beside the load."""
    turn_actions: int
    """In each turn of a guarantee."""
    growth: growth.Plan
    costs: costs.Plan
    retry_seconds: float
    """For so long since the beginning, what was measured on a disturbed machine is measured again."""


FULL = Size(  # a drain takes a second and a half or more on two cores of 2024, of which the clocks' ticks of 10 ms are little
    actions=150_000,
    rounds=5,
    more_rounds=1,
    warm_rounds=4,
    rivals={"rows": 12_000, "fields": 260_000, "blobs": 300_000, "quix": 140_000, "bytewax": 180_000, "pathway": 220_000},
    intervals=INTERVALS,
    curve_rounds=3,
    latency_seconds=7,
    read_actions=150_000,
    read_seconds=1.5,
    fresh=250,
    fresh_seconds=8,
    turn_actions=100_000,
    growth=growth.FULL,
    costs=costs.Plan(actions=150_000, submits=3, starts=1, rest_seconds=15),
    retry_seconds=540,
)
QUICK = Size(  # most of a second or more for each side
    actions=40_000,
    rounds=1,
    more_rounds=0,
    warm_rounds=2,
    rivals={"rows": 5_000, "fields": 90_000, "blobs": 110_000, "quix": 50_000, "bytewax": 80_000, "pathway": 80_000},
    intervals=(DEFAULT,),
    curve_rounds=1,
    latency_seconds=4,
    read_actions=40_000,
    read_seconds=0.5,
    fresh=60,
    fresh_seconds=4,
    turn_actions=40_000,
    growth=growth.QUICK,
    costs=costs.Plan(actions=40_000, submits=1, starts=1, rest_seconds=10),
    retry_seconds=120,
)


@dataclasses.dataclass
class Found:
    """What a run has measured so far."""

    legs: list[Leg] = dataclasses.field(default_factory=list)
    calm: Calm | None = None
    started: float = dataclasses.field(default_factory=time.monotonic)
    load: float = dataclasses.field(default_factory=lambda: os.getloadavg()[0])
    is_complete: bool = False
    """Whether all that was asked for was measured, and nothing ended the run before."""


def run(settings: Settings, size: Size, parts: Sequence[str], found: Found) -> None:
    """Measure on a stack that is up and applied and runs no job; what was measured is in `found` whatever happens then."""
    started = found.started

    def say(sentence: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {sentence}", file=sys.stderr, flush=True)

    clickstream = open_clickstream(settings.root / "data" / "shop_clickstream.csv.gz")
    plan = Plan(size.actions, size.rivals, size.rounds, size.more_rounds, size.warm_rounds)
    of_reads = Section("reads", size.read_actions)
    # the default comes last, and the reads with it
    intervals = tuple(sorted(size.intervals, key=lambda interval: interval == DEFAULT))
    of_turns = guarantees.sections(size.rounds, size.turn_actions) if "guarantees" in parts else []
    beside = load_sections(size.rounds, size.fresh_seconds)
    of_latency = sections(intervals, size.rounds, size.latency_seconds, TRIES)
    bring_profiles(settings, clickstream, [*plan.sections(), *of_latency, of_reads, *of_turns, *beside, size.costs.section()])
    tuned = {name: str(value) for name, value in DRAINED_WITH.items()}
    for sentence in submit(load_settings({**settings.environment, **tuned}), GROUP):
        say(sentence)
    with Calm(own=partial(own_processes, settings)) as calm:
        found.calm = calm
        say(f"a fixed piece of work takes {calm.undisturbed * 1000:.0f} ms on each core beside a stack that has nothing to do")
        bench = Run(settings, calm, say, found.legs, may_retry=lambda: time.monotonic() - started < size.retry_seconds)
        ours = flink_side(settings, "ours")
        if "drain" in parts:
            drains(bench, ours, clickstream, plan)
        if "latency" in parts:
            for interval in intervals:
                repeats = size.rounds if interval == DEFAULT else size.curve_rounds
                latencies(bench, ours, clickstream, interval, repeats, size.latency_seconds)
        if "reads" in parts:
            rows = list(section_rows(clickstream, of_reads))
            drained(settings, ours, rows)
            last = {row.user_id: row for row in rows}
            reads(bench, list(last), size.rounds, size.read_seconds)
            coming = (list(section_rows(clickstream, section)) for section in beside)
            freshness(bench, ours, feature_store(settings), list(last.values()), size.rounds, size.fresh, coming)
        if "guarantees" in parts:
            guarantees.guarantees(bench, ours, clickstream, tuned, size.turn_actions, size.rounds)
        if "growth" in parts:
            growth.growth(bench, size.growth)
        if "costs" in parts:  # the last: it starts the stack anew
            costs.costs(bench, clickstream, size.costs)


def report(settings: Settings, found: Found, command: str, *, is_whole: bool) -> Report:
    """What is known of a run, be it at its end or not."""
    guarantees = {name: rival.guarantee for name, rival in RIVALS.items()}
    told = machine(settings, {}, found.load) | {"in drains": ", ".join(f"{name}={value}" for name, value in DRAINED_WITH.items())}
    return Report(
        command,
        told,
        guarantees,
        found.legs,
        counted(found.legs, found.calm.undisturbed) if found.calm else [],
        time.monotonic() - found.started,
        is_whole,
    )


def name_of(*, quick: bool, has_all: bool) -> str:
    """Of the files: those of a run of all that it has are not overwritten by one that says less."""
    return "bench-part" if not has_all else "bench-quick" if quick else "bench"


def write(folder: Path, name: str, made: Report) -> None:
    """The files, each whole."""
    write_whole(folder / f"{name}.json", as_json(made).decode())
    write_whole(folder / f"{name}.html", page(made))


def as_json(made: Report) -> bytes:
    """Everything that was measured, and what came of it."""
    results = [
        {
            "name": ratio.name,
            "what": ratio.what,
            "target": ratio.target,
            "at_most": ratio.at_most,
            "value": None if value is None else value.number,
            "made_of": None if value is None else value.made_of,
            "runs": 0 if value is None else value.runs,
            "disturbed": value is not None and value.disturbed,
            "met": None if value is None or value.disturbed else ratio.is_met(value),
        }
        for ratio, value in made.results()
    ]
    ids = {id(leg) for leg in made.counted}
    legs = [{**dataclasses.asdict(leg), "counts": id(leg) in ids} for leg in made.legs]
    return orjson.dumps(
        {"command": made.command, "machine": made.machine, "seconds": made.seconds, "ratios": results, "legs": legs},
        option=orjson.OPT_INDENT_2,
    )


def shown(made: Report) -> Table:
    """The table for people."""
    table = Table(title="Streamhouse beside its rivals", title_justify="left", caption="ours by its worst run, rivals by their best")
    table.add_column("ratio")
    table.add_column("what", ratio=1)
    table.add_column("this run", justify="right")
    table.add_column("target", justify="right")
    table.add_column("")
    for ratio, value in made.results():
        if value is None:
            table.add_row(ratio.name, ratio.what, "–", ratio.wanted, "not measured")
        else:
            is_met = not value.disturbed and ratio.is_met(value)
            colour = "green" if is_met else "dim" if value.disturbed else "red"
            verdict = f"[{colour}]{said_of(value, is_met=is_met)}[/]"
            table.add_row(ratio.name, ratio.what, text(value.number, ratio.target) + ratio.unit, ratio.wanted, verdict)
    return table


def main(
    quick: Annotated[bool, typer.Option("--quick", help="one short run of most, within five minutes; its numbers say less")] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="where bench.json and bench.html are written, or bench-quick.*, bench-part.* [default: .streamhouse/bench]"),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(help=f"parts, with commas between them, of {', '.join(PARTS)} [default: all; quick: {', '.join(QUICK_PARTS)}]"),
    ] = None,
) -> None:
    """Measure this project beside its rivals, on a stack of its own. Example: ./streamhouse bench --quick"""
    console = Console(width=None if sys.stdout.isatty() else 140)
    interrupts.heed()
    parts = [*(QUICK_PARTS if quick else PARTS)] if only is None else [part.strip() for part in only.split(",")]
    command = "./streamhouse bench" + (" --quick" if quick else "") + (f" --only {only}" if only else "")
    size, has_all, where = QUICK if quick else FULL, set(parts) == set(QUICK_PARTS if quick else PARTS), ""
    try:
        if unknown := [part for part in parts if part not in PARTS]:
            message = f"--only {unknown[0]!r}: expected some of {', '.join(PARTS)}, with commas between them"
            raise StreamhouseError(message)
        here = load_settings()
        folder = out or here.installed / "bench"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # that it can be written is seen before an hour is spent
            pass
        if "drain" in parts:
            environments = sorted({RIVALS[rival].environment for rival in size.rivals})
            with ThreadPoolExecutor() as pool:  # each waits for the network and the disk
                list(pool.map(partial(interpreter, here), environments))
        with stack(_ROOM, here=False) as settings:
            found = Found()
            try:
                run(settings, size, parts, found)
                found.is_complete = True
            finally:  # before the stack ends, and whatever happened
                interrupts.ignore()
                has_all = has_all and found.is_complete
                made, name = report(settings, found, command, is_whole=has_all and not quick), name_of(quick=quick, has_all=has_all)
                if found.legs:
                    write(folder, name, made)
                    where = f"the page: {_short(folder / name)}.html; every number: {_short(folder / name)}.json"
                if where and not found.is_complete:
                    print(where, file=sys.stderr)
    except (StreamhouseError, OSError, KafkaException, redis.RedisError) as error:
        print(f"error: {error}", file=sys.stderr)
        # a rival that Ctrl-C ended, too, may be noticed before it
        raise typer.Exit(128 + interrupts.came[0] if interrupts.came else 1) from error
    except (KeyboardInterrupt, SystemError) as error:  # a C library that calls back into Python makes the second of the first
        if not interrupts.came:
            raise
        print(f"interrupted{'; what was measured until then is written' if where else ' before anything was measured'}", file=sys.stderr)
        raise typer.Exit(128 + interrupts.came[0]) from error
    console.print(shown(made))
    behind = ", ".join(ratio.name for ratio, _ in made.behind())
    console.print(f"behind our targets: {behind or 'in nothing that this run decided'}")
    if undecided := ", ".join(ratio.name for ratio in made.undecided()):
        console.print(f"undecided, not measured or on a disturbed machine: {undecided}")
    console.print(where, highlight=False)


def _short(path: Path) -> Path:
    """As a person in this folder would write it."""
    with contextlib.suppress(ValueError):
        return path.resolve().relative_to(Path.cwd())
    return path
