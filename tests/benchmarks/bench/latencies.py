"""How long an action waits for its prediction at a fixed rate, at each checkpoint interval."""

from __future__ import annotations

from typing import Any

from infra.config import Settings, load_settings
from infra.contracts.load import load_contracts
from infra.stack import flink_rest
from jobs.clickstream import Clickstream
from jobs.scoring_parts import GROUP, SOURCE_TOPIC
from jobs.submit import submit
from tests.benchmarks.actions import Section, section_rows
from tests.benchmarks.answers import AnswersWrong, faults
from tests.benchmarks.bench import ratios
from tests.benchmarks.bench.legs import OURS, Run, measured
from tests.benchmarks.latency import latency
from tests.benchmarks.sides import Side

_WARM_SECONDS = 3


def sections(intervals: tuple[str, ...], repeats: int, seconds: int, tries: int) -> list[Section]:
    """All actions that may be sent."""
    size = (seconds + _WARM_SECONDS) * ratios.PER_SECOND
    return [Section(f"latency-{interval}-{number}", size) for interval in intervals for number in range(repeats * tries)]


def latencies(run: Run, side: Side, clickstream: Clickstream, interval: str, repeats: int, seconds: int) -> None:
    """Start the job with this interval and measure it.

    Raises:
        AnswersWrong: an action was left unanswered or answered twice.

    """
    _start(run.settings, interval)
    partitions = load_contracts().topics[SOURCE_TOPIC].partitions
    done = 0

    def waits() -> dict[str, Any]:
        nonlocal done
        rows = list(section_rows(clickstream, Section(f"latency-{interval}-{done}", (seconds + _WARM_SECONDS) * ratios.PER_SECOND)))
        done += 1
        found, sent, got = latency(run.settings, side, rows, partitions, ratios.PER_SECOND, warm=_WARM_SECONDS * ratios.PER_SECOND)
        if said := faults(side.name, sent, got):
            raise AnswersWrong("\n".join(said))
        figures: dict[str, Any] = {"sender_late": found.sender_late, "cpu_cores": found.cpu_cores, "histogram": found.histogram}
        for isolation, name in (("read_uncommitted", "uncommitted"), ("read_committed", "committed")):
            figures |= {f"{name}_{percentile}": value for percentile, value in found.milliseconds[isolation].items()}
        return figures

    for repeat in range(1, repeats + 1):
        last = measured(run, ratios.latency(interval), OURS, repeat, waits)[-1].figures
        uncommitted = f"{last['uncommitted_p50']:.1f} ms, p99 {last['uncommitted_p99']:.1f}"
        run.say(f"checkpoint every {interval}: {uncommitted}; committed p99 {last['committed_p99']:,.0f}")


def _start(settings: Settings, interval: str) -> None:
    """See that score_events runs with this interval."""
    if running := flink_rest.alive(settings, GROUP):
        flink_rest.stop_with_savepoint(settings, running)
        flink_rest.forget(settings, GROUP)
    changed = {**settings.environment, "STREAMHOUSE_SCORE_EVENTS_CHECKPOINT_INTERVAL": interval}
    submit(load_settings(changed), GROUP)
