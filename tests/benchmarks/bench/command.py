"""Streamhouse beside its rivals, in one run on a stack of its own.

./streamhouse bench [--quick] [--out FOLDER] [--only drain,latency,reads]
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.table import Table

from features.apply import feature_store
from infra.config import Settings, load_settings
from infra.errors import StreamhouseError
from jobs.clickstream import open_clickstream
from jobs.scoring_parts import GROUP
from jobs.submit import submit
from tests.benchmarks.actions import Section, section_rows
from tests.benchmarks.bench.calm import Calm
from tests.benchmarks.bench.drains import Plan, drained, drains
from tests.benchmarks.bench.feature_reads import freshness, reads
from tests.benchmarks.bench.latencies import latencies, sections
from tests.benchmarks.bench.legs import TRIES, Leg, Run, counted
from tests.benchmarks.bench.page import Report, page, text
from tests.benchmarks.bench.ratios import INTERVALS
from tests.benchmarks.place import bring_profiles, machine, stack
from tests.benchmarks.rivals.sides import RIVALS
from tests.benchmarks.sides import flink_side

PARTS = ("drain", "latency", "reads")
DEFAULT = "1s"
"""The interval of checkpoints that the settings have, and that comes last, so that the job is left as it was."""
DRAINED_WITH = {"STREAMHOUSE_SCORE_EVENTS_PARALLELISM": 2}
"""For throughput, where one half of the job waits for Python and the other for Java; latency is measured with the settings as they come."""


@dataclasses.dataclass(frozen=True)
class Size:
    """How much is measured. `rivals`: how many actions each gets; a slow one fewer, or one run would take minutes."""

    actions: int
    rounds: int
    more_rounds: int
    rivals: dict[str, int]
    intervals: tuple[str, ...]
    latency_seconds: int
    read_seconds: float
    fresh: int


_SLOW, _MIDDLE = 2_000, 20_000
FULL = Size(
    actions=150_000,
    rounds=5,
    more_rounds=3,
    rivals={
        "rows": _SLOW,
        "rows_2": _SLOW,
        "fields": 100_000,
        "fields_2": 100_000,
        "blobs": 150_000,
        "blobs_2": 150_000,
        "quix": _MIDDLE,
        "quix_2": _MIDDLE,
        "bytewax": _MIDDLE,
        "pathway": _MIDDLE,
    },
    intervals=INTERVALS,
    latency_seconds=15,
    read_seconds=1.5,
    fresh=100,
)
QUICK = Size(
    actions=40_000,
    rounds=1,
    more_rounds=1,
    rivals={"rows": 1_000, "fields": 20_000, "blobs": 40_000, "quix": 5_000, "bytewax": 5_000, "pathway": 5_000},
    intervals=("100ms", DEFAULT),
    latency_seconds=5,
    read_seconds=0.5,
    fresh=40,
)


def run(settings: Settings, size: Size, parts: Sequence[str], command: str) -> Report:
    """Measure on a stack that is up and applied and runs no job."""
    started, load = time.monotonic(), os.getloadavg()[0]

    def say(sentence: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {sentence}", file=sys.stderr, flush=True)

    clickstream = open_clickstream(settings.root / "data" / "shop_clickstream.csv.gz")
    plan = Plan(size.actions, size.rivals, size.rounds, size.more_rounds)
    of_reads = Section("reads", size.actions)
    # the default comes last, and the reads with it
    intervals = tuple(sorted(size.intervals, key=lambda interval: interval == DEFAULT))
    bring_profiles(settings, clickstream, [*plan.sections(), *sections(intervals, size.rounds, size.latency_seconds, TRIES), of_reads])
    legs: list[Leg] = []
    tuned = {name: str(value) for name, value in DRAINED_WITH.items()}
    for sentence in submit(load_settings({**settings.environment, **tuned}), GROUP):
        say(sentence)
    with Calm() as calm:
        say(f"a fixed piece of work takes {calm.undisturbed * 1000:.0f} ms on each core beside a stack that has nothing to do")
        bench = Run(settings, calm, say)
        ours = flink_side(settings, "ours")
        if "drain" in parts:
            legs += drains(bench, ours, clickstream, plan)
        if "latency" in parts:
            for interval in intervals:
                legs += latencies(bench, ours, clickstream, interval, size.rounds, size.latency_seconds)
        if "reads" in parts:
            rows = list(section_rows(clickstream, of_reads))
            drained(settings, ours, rows)
            last = {row.user_id: row for row in rows}
            store = feature_store(settings)
            legs += reads(bench, store, list(last), size.rounds, size.read_seconds)
            legs += freshness(bench, store, list(last.values()), size.rounds, size.fresh)
        undisturbed = calm.undisturbed
    guarantees = {name: rival.guarantee for name, rival in RIVALS.items()}
    told = machine(settings, {}, load) | {"in drains": ", ".join(f"{name}={value}" for name, value in DRAINED_WITH.items())}
    return Report(command, told, guarantees, legs, counted(legs, undisturbed), time.monotonic() - started)


def as_json(report: Report) -> bytes:
    """Everything that was measured, and what came of it."""
    results = [
        {
            "name": ratio.name,
            "what": ratio.what,
            "target": ratio.target,
            "at_most": ratio.at_most,
            "value": None if value is None else value.number,
            "made_of": None if value is None else value.made_of,
            "met": None if value is None else ratio.is_met(value),
        }
        for ratio, value in report.results()
    ]
    ids = {id(leg) for leg in report.counted}
    legs = [{**dataclasses.asdict(leg), "counts": id(leg) in ids} for leg in report.legs]
    return orjson.dumps(
        {"command": report.command, "machine": report.machine, "seconds": report.seconds, "ratios": results, "legs": legs},
        option=orjson.OPT_INDENT_2,
    )


def shown(report: Report) -> Table:
    """The table for people."""
    table = Table(title="Streamhouse beside its rivals", title_justify="left", caption="ours by its worst run, rivals by their best")
    table.add_column("ratio")
    table.add_column("what", ratio=1)
    table.add_column("this run", justify="right")
    table.add_column("target", justify="right")
    table.add_column("")
    for ratio, value in report.results():
        if value is None:
            table.add_row(ratio.name, ratio.what, "–", ratio.wanted, "not measured")
        else:
            verdict = "[green]met[/]" if ratio.is_met(value) else "[red]not met[/]"
            table.add_row(ratio.name, ratio.what, text(value.number) + ratio.unit, ratio.wanted, verdict)
    return table


def main(
    quick: Annotated[bool, typer.Option("--quick", help="fewer and shorter runs, within five minutes; its numbers say less")] = False,
    out: Annotated[Path | None, typer.Option(help="where bench.json and bench.html are written [default: .streamhouse/bench]")] = None,
    only: Annotated[str, typer.Option(help="parts to measure, of " + ", ".join(PARTS))] = ",".join(PARTS),
) -> None:
    """Measure this project beside its rivals, on a stack of its own. Example: ./streamhouse bench --quick"""
    console = Console(width=None if sys.stdout.isatty() else 140)
    parts = [part.strip() for part in only.split(",")]
    folder = out or load_settings().installed / "bench"
    command = "./streamhouse bench" + (" --quick" if quick else "") + (f" --only {only}" if only != ",".join(PARTS) else "")
    try:
        if unknown := [part for part in parts if part not in PARTS]:
            message = f"--only {unknown[0]}: expected some of {', '.join(PARTS)}, with commas between them"
            raise StreamhouseError(message)
        folder.mkdir(parents=True, exist_ok=True)
        with stack({}, here=False) as settings:
            report = run(settings, QUICK if quick else FULL, parts, command)
    except (StreamhouseError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    (folder / "bench.json").write_bytes(as_json(report))
    (folder / "bench.html").write_text(page(report), "utf-8")
    console.print(shown(report))
    with contextlib.suppress(ValueError):
        folder = folder.resolve().relative_to(Path.cwd())
    behind = ", ".join(ratio.name for ratio, _ in report.behind())
    console.print(f"behind our targets: {behind}" if behind else "behind our targets in nothing that was measured")
    console.print(f"the page: {folder / 'bench.html'}; every number: {folder / 'bench.json'}", highlight=False)


if __name__ == "__main__":
    typer.run(main)
