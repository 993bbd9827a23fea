"""What bad input costs: the job score_events on poisoned streams beside clean ones, on the same machine in the same run.

    .streamhouse/env/bin/python -m tests.benchmarks.poisoned [--actions N] [--megabytes M] [--rounds R] [--json FILE]

It brings up a stack of its own unless told --here. In each round the job drains four streams, in this order and in every other
round in the opposite one:

    clean            N actions, all good
    poisoned         as many, 5 % of them bad: every kind that the contract refuses, mixed; see `kinds` in tests/benchmarks/streams.py
    bad megabytes    20 M actions, M of them bad values of a megabyte
    good megabytes   20 M actions, M of them good, with a megabyte in a field that nobody reads

A poisoned stream is held against the clean one in records per second, bad ones counted: each is answered, by a dead letter. In megabytes a
second that is no comparison, and in records a second it is none for megabytes, each of which is worth thousands of actions in bytes. So
`bad megabytes` are held against the clean stream in bytes per second; beside it stands what they take over good ones of the same size and
number, which are read as they are and not written again.

Each record must have its one answer, a prediction or a dead letter with the right reason, from one run of the job without a restart:
else the exit status is 1, as it is when the median of a ratio that is demanded is below --at-least.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
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
from jobs.chaos.actions import Made
from jobs.clickstream import Clickstream, open_clickstream
from jobs.scoring_parts import GROUP, SOURCE_TOPIC
from jobs.submit import submit
from tests.benchmarks.actions import Section, records, section_rows
from tests.benchmarks.answers import Answers, AnswersWrong, faults
from tests.benchmarks.drain import Drain, drain
from tests.benchmarks.place import bring_profiles, machine, overrides, stack
from tests.benchmarks.sides import Side, flink_side
from tests.benchmarks.streams import MEGABYTES, ONE_BAD_IN, kinds, poisoned, with_megabytes

CLEAN, POISONED, BAD_MEGABYTES, GOOD_MEGABYTES = STREAMS = ("clean", "poisoned", "bad megabytes", "good megabytes")
_WARM = 60_000  # actions at most that warm the job up with each stream: the JVM gets faster for half a minute
_WARM_MEGABYTES = 10
_SIZE = 1_000_000


class Restarted(StreamhouseError):
    """The job did not run through: no speed counts."""


@dataclass(frozen=True)
class Ratio:
    """What two streams are held against each other in. `demanded`: whether a median that is too low fails the run."""

    name: str
    one: str
    other: str
    rate: Callable[[Drain], float]
    demanded: bool = True


RATIOS = (
    Ratio("poisoned / clean, records/s", POISONED, CLEAN, lambda one: one.rate),
    Ratio("poisoned / clean, records per CPU second", POISONED, CLEAN, lambda one: one.actions / one.cpu_seconds_in_all, demanded=False),
    Ratio("bad megabytes / clean, MB/s", BAD_MEGABYTES, CLEAN, lambda one: one.megabytes_per_second),
    Ratio("bad / good megabytes, MB/s", BAD_MEGABYTES, GOOD_MEGABYTES, lambda one: one.megabytes_per_second, demanded=False),
)


@dataclass(frozen=True)
class Report:
    """All that was measured: drains by stream and round; how many records had their one right answer, those to warm up among them."""

    machine: dict[str, str]
    drains: dict[str, list[Drain]]
    answered: dict[str, int]

    def ratios(self) -> dict[Ratio, list[float]]:
        """By round."""
        return {
            ratio: [
                ratio.rate(one) / ratio.rate(other) for one, other in zip(self.drains[ratio.one], self.drains[ratio.other], strict=True)
            ]
            for ratio in RATIOS
        }

    def too_slow(self, at_least: float) -> list[str]:
        """A sentence for each ratio that does not keep what is demanded."""
        return [
            f"{ratio.name}: the median of {len(found)} rounds is {median(found):.2f}, expected at least {at_least:.2f}"
            for ratio, found in self.ratios().items()
            if ratio.demanded and median(found) < at_least
        ]

    def as_json(self) -> bytes:
        """Everything."""
        return orjson.dumps(
            {
                "machine": self.machine,
                "answered": self.answered,
                "drains": {name: [dataclasses.asdict(one) for one in drains] for name, drains in self.drains.items()},
                "ratios": {ratio.name: {"median": median(r), "worst": min(r), "by_round": r} for ratio, r in self.ratios().items()},
            },
            option=orjson.OPT_INDENT_2,
        )


def run(settings: Settings, actions: int, megabytes: int, rounds: int, seed: int, settings_changed: Mapping[str, str]) -> Report:
    """Measure on a stack that is up and applied.

    Raises:
        AnswersWrong: a record has not its one right answer.
        Restarted: the job was restarted, or another one runs.

    """
    started, load = time.monotonic(), os.getloadavg()[0]

    def step(text: str) -> None:
        print(f"{time.monotonic() - started:6.1f} s  {text}", file=sys.stderr, flush=True)

    clickstream = open_clickstream(settings.root / "data" / "shop_clickstream.csv.gz")
    few, some = min(actions, _WARM), min(megabytes, _WARM_MEGABYTES)
    plan = [(0, stream, _section("warm", stream, few, some)) for stream in STREAMS]
    for number in range(1, rounds + 1):
        # those that are compared stand side by side, now the one first and now the other
        plan += [(number, stream, _section(f"round{number}", stream, actions, megabytes)) for stream in STREAMS[:: 1 if number % 2 else -1]]
    bring_profiles(settings, clickstream, [section for *_, section in plan])
    step("profiles of all users are in the online store")
    for sentence in submit(settings, GROUP):
        step(sentence)
    flink, job = flink_side(settings, GROUP), [(flink_rest.running(settings, GROUP), 0)]
    drains: dict[str, list[Drain]] = {stream: [] for stream in STREAMS}
    answered: Counter[str] = Counter()
    for number, stream, section in plan:
        drained = _drained(settings, flink, _sent(clickstream, stream, section, seed + number), stream, answered)
        if (now := _runs(settings)) != job:
            message = f"the job and its restarts: expected {job} after {stream} of round {number}, got {now}"
            raise Restarted(message)
        if number:
            drains[stream].append(drained)
            step(f"round {number}, {stream}: {drained.rate:,.0f} records/s, {drained.megabytes_per_second:.1f} MB/s")
    flink.take(afterwards := Answers())
    if said := faults("afterwards", {}, afterwards):
        raise AnswersWrong("\n".join(said))
    return Report(machine(settings, settings_changed, load), drains, dict(answered))


def _section(name: str, stream: str, actions: int, megabytes: int) -> Section:
    count = actions if stream in (CLEAN, POISONED) else ONE_BAD_IN * megabytes
    return Section(f"{name}-{stream.replace(' ', '-')}", count)


def _sent(clickstream: Clickstream, stream: str, section: Section, seed: int) -> Iterable[Made]:
    topic = load_contracts().topics[SOURCE_TOPIC]
    clean = list(records(section_rows(clickstream, section), topic.partitions))
    if stream == POISONED:
        return poisoned(clean, topic, seed, kinds(topic))
    if stream == BAD_MEGABYTES:
        return poisoned(clean, topic, seed, MEGABYTES)
    return with_megabytes(clean, seed, _SIZE) if stream == GOOD_MEGABYTES else clean


def _drained(settings: Settings, side: Side, made: Iterable[Made], stream: str, answered: Counter[str]) -> Drain:
    """One drain, whose every record has its one right answer; `answered` counts them by what answered them."""
    one, sent, got = drain(settings, side, made)
    if said := faults(stream, sent, got):
        raise AnswersWrong("\n".join(said))
    answered["prediction"] += len(got.of)
    answered.update(got.refused.values())
    return one


def _runs(settings: Settings) -> list[tuple[str | None, int]]:
    """The job that runs, and how often it was restarted; a list, since there could be none, or two."""
    return [(job.id, job.restarts) for job in flink_rest.jobs(settings, details=True) if job.name == GROUP and job.is_alive]


def shown(report: Report) -> list[Table]:
    """The tables for people: what each stream did, and the ratios."""
    count = sum(report.answered.values())
    letters = count - report.answered["prediction"]
    title = f"{count:,} records answered once each, {letters:,} of them by dead letters of {len(report.answered) - 1} reasons"
    speeds = Table(title=title, title_justify="left")
    for heading in ("median of the rounds", *STREAMS):
        speeds.add_column(heading, justify="left" if heading not in STREAMS else "right")
    rows: dict[str, tuple[str, Callable[[Drain], float]]] = {
        "records": ("{:,.0f}", lambda one: one.actions),
        "MB": ("{:,.1f}", lambda one: one.size / 1e6),
        "records/s": ("{:,.0f}", lambda one: one.rate),
        "MB/s": ("{:,.1f}", lambda one: one.megabytes_per_second),
        "CPU seconds": ("{:,.2f}", lambda one: one.cpu_seconds_in_all),
        "peak MiB of all processes": ("{:,.0f}", lambda one: sum(one.peak_bytes.values()) / 2**20),
    }
    for name, (text, value) in rows.items():
        speeds.add_row(name, *(text.format(median(map(value, report.drains[stream]))) for stream in STREAMS))
    compared = Table(
        caption="worst: the lowest of the rounds\nshared machine: CPU seconds are steadier than the clock's", caption_justify="left"
    )
    for heading in ("ratio", "median", "worst", "by round"):
        compared.add_column(heading)
    for ratio, found in report.ratios().items():
        compared.add_row(ratio.name, f"{median(found):.2f}", f"{min(found):.2f}", " ".join(f"{one:.2f}" for one in found))
    return [speeds, compared]


def main(
    actions: Annotated[int, typer.Option(min=ONE_BAD_IN, help="records in one drain of the clean and of the poisoned stream")] = 100_000,
    megabytes: Annotated[int, typer.Option(min=1, help="megabyte values in one drain of those; one record in 20")] = 100,
    rounds: Annotated[int, typer.Option(min=1, help="drains of each stream")] = 5,
    seed: Annotated[int, typer.Option(help="which records are bad, and how")] = 1,
    at_least: Annotated[float, typer.Option(help="the median ratio that a stream with bad input must keep")] = 0.9,
    json_file: Annotated[Path | None, typer.Option("--json", help="write everything there too")] = None,
    changed: Annotated[list[str] | None, typer.Option("--set", help="a setting, as SCORE_EVENTS_PARALLELISM=2")] = None,
    here: Annotated[bool, typer.Option("--here", help="on the stack that the environment names, which is up and applied")] = False,
) -> None:
    """Measure the job score_events on poisoned streams. Example: python -m tests.benchmarks.poisoned --rounds 9"""
    console = Console(width=None if sys.stdout.isatty() else 140)
    try:
        settings_changed = overrides(changed or [])
        with stack(settings_changed, here=here) as settings:
            report = run(settings, actions, megabytes, rounds, seed, settings_changed)
    except StreamhouseError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    console.print(*shown(report), sep="\n")
    console.print("\n".join(f"{name:<16} {value}" for name, value in report.machine.items()), highlight=False)
    if json_file is not None:
        json_file.write_bytes(report.as_json())
    for sentence in (slow := report.too_slow(at_least)):
        print(f"error: {sentence}", file=sys.stderr)
    raise typer.Exit(1 if slow else 0)


if __name__ == "__main__":
    typer.run(main)
