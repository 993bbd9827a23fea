"""`./streamhouse chaos`: faults drawn from a seed for as long as asked, then the count; what it found, and how to see it again."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from infra.config import ROOT
from infra.errors import StreamhouseError
from jobs.chaos.faults import FAULTS, possible
from jobs.chaos.place import broken_on_purpose
from jobs.chaos.recovery import Summary, summaries
from jobs.chaos.round import Round, Strike
from jobs.chaos.schedule import schedule

RATE = 300.0


@dataclasses.dataclass(frozen=True)
class Result:
    """A whole run. `state`: the folder that was kept, None: it was deleted; `sent` records by kind."""

    seed: int
    command: str
    minutes: float
    sent: dict[str, int]
    strikes: list[Strike]
    recoveries: list[Summary]
    findings: list[str]
    state: str | None


def chaos(minutes: float, seed: int, rate: float = RATE, only: tuple[str, ...] = (), *, keep: bool = False) -> Result:
    """Break a stack of its own for so many minutes and count what came out.

    Raises:
        StreamhouseError: `only` names no fault, or the stack does not come up.

    """
    if unknown := [name for name in only if name not in FAULTS]:
        message = f"no fault {unknown[0]!r}; expected some of {', '.join(FAULTS)}"
        raise StreamhouseError(message)
    console = Console(soft_wrap=True, highlight=False)
    state = ROOT / ".streamhouse" / f"chaos-{seed}"
    command = f"./streamhouse chaos --minutes {minutes:g} --seed {seed} --rate {rate:g}" + (f" --only {','.join(only)}" if only else "")
    console.print(f"{command}\nstarting a stack of its own in {state}")
    with broken_on_purpose(state, keep=keep) as place:
        wanted = {name: fault for name, fault in possible(place.settings).items() if name in (only or FAULTS)}
        draws = schedule(
            seed, {name: fault.weight for name, fault in wanted.items()}, {name: fault.points for name, fault in wanted.items()}
        )
        this_round = Round(place, seed, rate)
        try:
            this_round.start()
            until = time.monotonic() + 60 * minutes
            while time.monotonic() < until and not this_round.lost:
                strike = this_round.strike(next(draws))
                console.print(_line(strike))
            console.print("settling and counting")
            findings = this_round.findings(this_round.settle())
        finally:
            this_round.close()
        place.keep = place.keep or bool(findings)
        return Result(
            seed,
            command,
            minutes,
            this_round.traffic.sent.by_kind(),
            this_round.strikes,
            summaries(this_round.blows.recoveries),
            findings,
            str(state) if place.keep else None,
        )


def _line(strike: Strike) -> str:
    took = ", ".join("lost" if seconds is None else f"{seconds:.1f} s" for seconds in strike.seconds)
    point = strike.draw.point + ("" if strike.reached else " (which did not come)")
    return f"{strike.at:6.0f} s  {strike.draw.fault} {point}: {strike.said}" + (f" [bold]{took}[/]" if took else "")


def show(result: Result) -> None:
    """For people."""
    console = Console(soft_wrap=True, highlight=False)
    table = Table("fault", "times", "p50 s", "p95 s", "max s")
    for summary in result.recoveries:
        numbers = ("" if value is None else f"{value:.1f}" for value in (summary.p50, summary.p95, summary.max))
        lost = f" ({summary.lost} lost)" if summary.lost else ""
        table.add_row(summary.fault, f"{summary.count}{lost}", *numbers)
    console.print(table)
    kills = sum(FAULTS[strike.draw.fault].kill for strike in result.strikes)
    console.print(f"{len(result.strikes)} faults, {kills} kills, {sum(result.sent.values()):,} actions; seconds from the blow to the")
    console.print("first committed prediction of an action that was sent after it")
    for finding in result.findings:
        console.print(f"[bold red]finding[/]: {finding}", markup=True)
    console.print(f"{len(result.findings)} findings; again: {result.command}")
    if result.state:
        console.print(f"its state, logs among it, is kept in {result.state}")


def write(result: Result, file: Path) -> None:
    """For programs."""
    file.write_text(json.dumps(dataclasses.asdict(result), indent=1), "utf-8")
