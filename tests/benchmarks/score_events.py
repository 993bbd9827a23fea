"""The job score_events beside a plain loop that does the same work, on the same machine in the same run.

    .streamhouse/env/bin/python -m tests.benchmarks.score_events [--actions N] [--seconds S] [--rounds R] [--json FILE]

It brings up a stack of its own unless told --here, and compares every answer before it tells a speed: the exit status is 1 when one is
missing, came twice or differs. Numbers of a shared machine are worth little by themselves; compare the ratios.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.table import Table

from infra.config import Settings
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError
from infra.stack import flink_rest
from jobs.clickstream import Clickstream, open_clickstream
from jobs.scoring_parts import GROUP, SOURCE_TOPIC
from jobs.submit import submit
from tests.benchmarks.actions import Section, records, section_rows
from tests.benchmarks.answers import Answers, AnswersWrong, Sent, differences, faults
from tests.benchmarks.drain import Drain, drain
from tests.benchmarks.latency import ISOLATIONS, PERCENTILES, Latency, latency
from tests.benchmarks.place import bring_profiles, machine, overrides, stack
from tests.benchmarks.sides import Side, flink_side, loop_side

PER_SECOND = 1000
FLINK, LOOP, SINGLE = SIDES = ("flink", "loop", "single")
_WARM = 20_000  # actions at most that warm each side up; they are compared, not measured
_SINGLE = 2000  # actions at most for the loop that answers one by one
_HOW = (
    "drain: actions become visible at once (one transaction); seconds until the broker's append time of the last answer, and until"
    " it was committed\n"
    "latency: open loop, from when an action was due until a consumer had its prediction\n"
    "min, max of Flink / loop: by round\n"
    "shared machine: compare ratios; CPU seconds are steadier than the clock's"
)


@dataclass(frozen=True)
class Report:
    """All that was measured: drains by side and round, latency by side."""

    machine: dict[str, str]
    actions: int
    rounds: int
    drains: dict[str, list[Drain]]
    latency: dict[str, Latency]
    compared: int
    restarts: int

    def rates(self, side: str) -> list[float]:
        """Actions per second of each round."""
        return [one.rate for one in self.drains[side]]

    def ratios(self) -> list[float]:
        """Actions per second of the job over those of the loop, by round."""
        return [one / other for one, other in zip(self.rates(FLINK), self.rates(LOOP), strict=True)]

    def as_json(self) -> bytes:
        """Everything, with the summary that the table shows."""
        drains = {
            side: {
                "actions_per_second": {"median": median(rates := self.rates(side)), "min": min(rates), "max": max(rates)},
                "rounds": [{**dataclasses.asdict(one), "actions_per_second": one.rate} for one in rounds],
            }
            for side, rounds in self.drains.items()
        }
        flink, loop = self.rates(FLINK), self.rates(LOOP)
        return orjson.dumps(
            {
                "machine": self.machine,
                "actions": self.actions,
                "rounds": self.rounds,
                "answers_compared": self.compared,
                "flink_restarts": self.restarts,
                "drain": drains,
                "flink_over_loop": {
                    "ratio_of_medians": median(flink) / median(loop),
                    "by_round": self.ratios(),
                },
                "latency": {side: dataclasses.asdict(one) for side, one in self.latency.items()},
            },
            option=orjson.OPT_INDENT_2,
        )


@dataclass(frozen=True)
class Answered:
    """One section by one side."""

    side: str
    sent: Sent
    got: Answers


def run(settings: Settings, actions: int, seconds: int, rounds: int, settings_changed: dict[str, str]) -> Report:
    """Measure on a stack that is up and applied and runs no job."""
    started, load = time.monotonic(), os.getloadavg()[0]

    def step(text: str) -> None:
        print(f"{time.monotonic() - started:6.1f} s  {text}", file=sys.stderr, flush=True)

    clickstream = open_clickstream(settings.root / "data" / "shop_clickstream.csv.gz")
    partitions = load_contracts().topics[SOURCE_TOPIC].partitions
    warm, slow = Section("warm", min(actions, _WARM)), Section("latency", seconds * PER_SECOND)
    measured = [Section(f"round{number}", actions) for number in range(1, rounds + 1)]
    bring_profiles(settings, clickstream, [warm, *measured, slow])
    step("profiles of all users are in the online store")
    for sentence in submit(settings, GROUP):
        step(sentence)
    compared = 0

    def checked(of: Sequence[Answered]) -> None:
        nonlocal compared
        compared += _check(of)

    with contextlib.ExitStack() as ends:
        flink = flink_side(settings, FLINK)
        loop = ends.enter_context(loop_side(settings, LOOP, settings.score_events.batch_rows))
        drains: dict[str, list[Drain]] = {side: [] for side in SIDES}
        by_flink = _drained(settings, flink, clickstream, warm, partitions)
        checked([by_flink[1], _drained(settings, loop, clickstream, warm, partitions)[1]])
        with loop_side(settings, SINGLE, 1) as single:
            few = itertools.islice(section_rows(clickstream, warm), _SINGLE)
            one, sent, got = drain(settings, single, records(few, partitions))
        drains[SINGLE].append(one)
        some = dataclasses.replace(by_flink[1].got, of={where: answer for where, answer in by_flink[1].got.of.items() if where in sent})
        checked([Answered(FLINK, sent, some), Answered(SINGLE, sent, got)])
        step("all sides are warm, and their answers equal")
        for section in measured:
            both = [_drained(settings, side, clickstream, section, partitions) for side in (flink, loop)]
            checked([answered for _, answered in both])
            for name, (drained, _) in zip((FLINK, LOOP), both, strict=True):
                drains[name].append(drained)
            step(f"{section.name}: flink {both[0][0].rate:,.0f} actions/s, loop {both[1][0].rate:,.0f}; their answers are equal")
        latencies, answered = {}, []
        rows = list(section_rows(clickstream, slow))
        for side in (flink, loop):
            latencies[side.name], sent, got = latency(settings, side, rows, partitions, PER_SECOND)
            answered.append(Answered(side.name, sent, got))
            step(f"{side.name} answered {PER_SECOND:,} actions/s for {seconds} s")
        checked(answered)
        for side in (flink, loop):
            side.take(afterwards := Answers())
            if said := faults(f"{side.name} afterwards", {}, afterwards):
                raise AnswersWrong("\n".join(said))
    restarts = sum(job.restarts for job in flink_rest.jobs(settings, details=True) if job.name == GROUP)
    return Report(machine(settings, settings_changed, load), actions, rounds, drains, latencies, compared, restarts)


def _drained(settings: Settings, side: Side, clickstream: Clickstream, section: Section, partitions: int) -> tuple[Drain, Answered]:
    one, sent, got = drain(settings, side, records(section_rows(clickstream, section), partitions))
    return one, Answered(side.name, sent, got)


def _check(of: Sequence[Answered]) -> int:
    """Compare two sides' answers to the same actions; answers how many.

    Raises:
        AnswersWrong: one is missing, came twice, or differs from the other side's.

    """
    one, other = of
    said = [fault for each in of for fault in faults(each.side, each.sent, each.got)]
    if one.sent.keys() != other.sent.keys():
        said.append(f"the same actions lie elsewhere for {one.side} than for {other.side}: their answers cannot be compared")
    said += differences(one.side, one.got, other.side, other.got)
    if said:
        raise AnswersWrong("\n".join(said))
    return len(one.sent)


def shown(report: Report) -> Table:
    """The table for people."""
    title = f"{report.actions:,} actions a round, {report.rounds} rounds; {report.compared:,} answers compared, all equal"
    table = Table(title=title, title_justify="left", caption=_HOW, caption_justify="left")
    table.add_column("")
    for heading in ("Flink job", "plain loop", "Flink / loop", "loop, one by one"):
        table.add_column(heading, justify="right")

    def row(name: str, text: str, of: Mapping[str, float]) -> None:
        cells = [text.format(of[side]) if side in of else "" for side in SIDES]
        ratio = f"{of[FLINK] / of[LOOP]:.2f}" if of.get(FLINK) is not None and of.get(LOOP) else ""
        table.add_row(name, cells[0], cells[1], ratio, cells[2])

    def per_drain(value: Callable[[Drain], float | None], summary: Callable[[list[float]], float] = median) -> dict[str, float]:
        """One number by side, of those of its rounds that have it."""
        found = {side: [number for one in rounds if (number := value(one)) is not None] for side, rounds in report.drains.items()}
        return {side: summary(numbers) for side, numbers in found.items() if numbers}

    row("actions/s, median", "{:,.0f}", per_drain(lambda one: one.rate))
    for name, summary in (("min", min), ("max", max)):
        extremes = per_drain(lambda one: one.rate, summary)
        table.add_row(f"  {name}", *(f"{extremes[side]:,.0f}" for side in (FLINK, LOOP)), f"{summary(report.ratios()):.2f}", "")
    row("actions/s until committed, median", "{:,.0f}", per_drain(lambda one: one.actions / one.committed_seconds))
    cores = os.cpu_count() or 1
    at_most = per_drain(lambda one: cores * one.actions / one.cpu_seconds_in_all)
    row(f"actions/s that the CPU of {cores} cores allows, spread evenly", "{:,.0f}", at_most)
    table.add_section()
    groups = list(dict.fromkeys(group for side in (FLINK, LOOP) for one in report.drains[side] for group in one.cpu_seconds))
    row("CPU seconds per million actions", "{:,.1f}", per_drain(lambda one: one.cpu_seconds_in_all / one.actions * 1e6))
    for group in groups:
        row(f"  {group}", "{:,.1f}", per_drain(partial(_seconds_per_million, group)))
    table.add_section()
    for group in groups:
        row(f"peak MiB, {group}", "{:,.0f}", per_drain(partial(_peak, group), max))
    table.add_section()
    for isolation in ISOLATIONS:
        for percentile in PERCENTILES:
            values = {side: one.milliseconds[isolation][percentile] for side, one in report.latency.items()}
            row(f"ms at {PER_SECOND:,}/s, {isolation}, {percentile}", "{:,.1f}", values)
    row("ms the sender was late, p99", "{:,.1f}", {side: one.sender_late["p99"] for side, one in report.latency.items()})
    row(f"cores in use at {PER_SECOND:,}/s", "{:,.2f}", {side: sum(one.cpu_cores.values()) for side, one in report.latency.items()})
    return table


def _seconds_per_million(group: str, one: Drain) -> float | None:
    return one.cpu_seconds[group] / one.actions * 1e6 if group in one.cpu_seconds else None


def _peak(group: str, one: Drain) -> float | None:
    return one.peak_bytes[group] / 2**20 if group in one.peak_bytes else None


def main(
    actions: Annotated[int, typer.Option(min=1, help="actions in one drain")] = 100_000,
    seconds: Annotated[int, typer.Option(min=1, help="how long latency is measured")] = 20,
    rounds: Annotated[int, typer.Option(min=1, help="drains of each side, in turn")] = 3,
    json_file: Annotated[Path | None, typer.Option("--json", help="write everything there too")] = None,
    changed: Annotated[list[str] | None, typer.Option("--set", help="a setting, as SCORE_EVENTS_PARALLELISM=2")] = None,
    here: Annotated[bool, typer.Option("--here", help="on the stack that the environment names, up and applied, without jobs")] = False,
) -> None:
    """Measure the job score_events beside a plain loop. Example: python -m tests.benchmarks.score_events --rounds 5"""
    console = Console(width=None if sys.stdout.isatty() else 140)
    try:
        settings_changed = overrides(changed or [])
        with stack(settings_changed, here=here) as settings:
            report = run(settings, actions, seconds, rounds, settings_changed)
    except StreamhouseError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    console.print(shown(report))
    console.print("\n".join(f"{name:<16} {value}" for name, value in report.machine.items()), highlight=False)
    if report.restarts:
        console.print(f"the Flink job restarted {report.restarts} times: its speed says nothing")
    if json_file is not None:
        json_file.write_bytes(report.as_json())


if __name__ == "__main__":
    typer.run(main)
