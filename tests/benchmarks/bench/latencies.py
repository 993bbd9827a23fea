"""How long an action waits for its prediction at a fixed rate, at each checkpoint interval."""

from __future__ import annotations

from typing import Any

from infra.contracts.load import load_contracts
from jobs.clickstream import Clickstream
from jobs.scoring_parts import SOURCE_TOPIC
from tests.benchmarks.actions import Section, section_rows
from tests.benchmarks.answers import AnswersWrong, faults
from tests.benchmarks.bench import ratios
from tests.benchmarks.bench.job import restart
from tests.benchmarks.bench.legs import OURS, Run, measured
from tests.benchmarks.latency import Latency, latency
from tests.benchmarks.sides import Side

_FIRST_SECONDS = 5
"""For which a job that was just started answers at the same rate before it is measured: Java compiles, connections are made."""
_WARM_SECONDS = 3
"""At the beginning of each measurement, which do not count."""


def sections(intervals: tuple[str, ...], repeats: int, seconds: int, tries: int) -> list[Section]:
    """All actions that may be sent."""
    measured_ones = [_section(interval, number, seconds) for interval in intervals for number in range(repeats * tries)]
    return [*(_first(interval) for interval in intervals), *measured_ones]


def _first(interval: str) -> Section:
    return Section(f"latency-{interval}-first", _FIRST_SECONDS * ratios.PER_SECOND)


def _section(interval: str, number: int, seconds: int) -> Section:
    return Section(f"latency-{interval}-{number}", (seconds + _WARM_SECONDS) * ratios.PER_SECOND)


def latencies(run: Run, side: Side, clickstream: Clickstream, interval: str, repeats: int, seconds: int) -> None:
    """Start the job with this interval and measure it.

    Raises:
        AnswersWrong: an action was left unanswered or answered twice.

    """
    restart(run.settings, {"STREAMHOUSE_SCORE_EVENTS_CHECKPOINT_INTERVAL": interval})
    partitions = load_contracts().topics[SOURCE_TOPIC].partitions
    done = 0

    def answered(section: Section, warm: int) -> Latency:
        rows = list(section_rows(clickstream, section))
        found, sent, got = latency(run.settings, side, rows, partitions, ratios.PER_SECOND, warm * ratios.PER_SECOND)
        if said := faults(side.name, sent, got):
            raise AnswersWrong("\n".join(said))
        return found

    answered(_first(interval), 0)

    def waits() -> dict[str, Any]:
        nonlocal done
        found = answered(_section(interval, done, seconds), _WARM_SECONDS)
        done += 1
        figures: dict[str, Any] = {"sender_late": found.sender_late, "cpu_cores": found.cpu_cores, "histogram": found.histogram}
        for isolation, name in (("read_uncommitted", "uncommitted"), ("read_committed", "committed")):
            figures |= {f"{name}_{percentile}": value for percentile, value in found.milliseconds[isolation].items()}
        return figures

    for repeat in range(1, repeats + 1):
        last = measured(run, ratios.latency(interval), OURS, repeat, waits)[-1].figures
        uncommitted = f"{last['uncommitted_p50']:.1f} ms, p99 {last['uncommitted_p99']:.1f}"
        run.say(f"checkpoint every {interval}: {uncommitted}; committed p99 {last['committed_p99']:,.0f}")
