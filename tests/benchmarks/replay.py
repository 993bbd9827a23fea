"""A million predictions made live, and the same made again: equal to the bit, from tables and topics, and at how many times the speed.

    .streamhouse/env/bin/python -m tests.benchmarks.replay [--actions N] [--rounds R] [--json FILE]

It brings up a stack of its own. Live: 5 % of the actions come a little later than they happened and 1 % much later, the TaskManager is
killed once, and the job goes on with another model. Then the archive follows, and everything is replayed as served, folded again, out of
the topics, as a Flink job, and by a script as a person would write it with DuckDB and onnxruntime. The exit status is 1 when a score
differs, or when the slowest replay is not ten times as fast as the median of the live drains. Numbers of a shared machine are worth
little by themselves; compare the ratios.
"""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import orjson
import psutil
import typer
from rich.console import Console
from rich.table import Table

from infra.config import Settings, load_settings
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError
from infra.stack import flink_rest, supervise
from infra.stack.services import TASKMANAGERS
from jobs.clickstream import Row, open_clickstream
from jobs.rebuild_features import rebuild
from jobs.scoring_parts import GROUP, SOURCE_TOPIC
from jobs.submit import submit
from lakehouse.query import query
from lakehouse.read import count_rows, log_ends
from tests.benchmarks.actions import Section, records, section_rows
from tests.benchmarks.answers import AnswersWrong, faults
from tests.benchmarks.drain import Drain, drain
from tests.benchmarks.place import bring_profiles, machine, stack
from tests.benchmarks.sides import flink_side

_WARM = 20_000
_MEASURED = ("first clean", "second clean", "third clean")
_OTHER_MODEL = "purchase_30m@2"
_LITTLE_LATER, _MUCH_LATER = 0.05, 0.01
_TIMES = 10.0
_PATIENCE = 1800.0  # seconds for the archive to follow


@dataclass(frozen=True)
class Run:
    """One way to make the scores again: records, seconds by its own clock, peak bytes of all its processes, what it said."""

    records: int
    seconds: float
    peak_bytes: int
    said: dict[str, Any]

    @property
    def rate(self) -> float:
        """Records per second."""
        return self.records / self.seconds


def run(settings: Settings, actions: int, rounds: int, step: Callable[[str], None]) -> dict[str, Any]:
    """Make the history live, then make it again in every way, on a stack that is up and applied.

    Raises:
        AnswersWrong: an action has not its one right answer.

    """
    load = os.getloadavg()[0]
    clickstream = open_clickstream(settings.root / "data" / "shop_clickstream.csv.gz")
    third = actions // 3
    counts = {"warm": min(_WARM, third), **dict.fromkeys(_MEASURED, third // 3), "killed": third, "after": actions - 2 * third}
    # one shop, cut in time: what comes later in the log happened later, but for what `disordered` makes late
    history = Section("history", sum(counts.values()))
    bring_profiles(settings, clickstream, [history])
    rows = section_rows(clickstream, history)

    def drained(name: str) -> Drain:
        return _drained(settings, name, disordered(itertools.islice(rows, counts[name]), counts[name]), step)

    _said(submit(settings, GROUP), step)
    drained("warm")
    live = [drained(name) for name in _MEASURED]
    with _killer(settings, third // 4, step):
        drained("killed")
    (job,) = [job for job in flink_rest.jobs(settings) if job.name == GROUP and job.is_alive]
    flink_rest.stop_with_savepoint(settings, job)
    other = load_settings({**settings.environment, "STREAMHOUSE_SCORE_EVENTS_MODEL": _OTHER_MODEL}, settings.root)
    _said(submit(other, GROUP), step)
    drained("after")

    _said(submit(settings, "archive_topics"), step)
    _archived(settings, history.actions, step)
    _said(rebuild(settings), step)

    made: dict[str, list[Run]] = {}
    quarter = [f"--offsets={p}:{first}-{first + (end - first) // 4}" for p, (first, end) in log_ends(settings, "user_actions").items()]
    ways = {
        "tables": [],
        "a quarter of the tables": quarter,
        "topics": ["--topics"],
        "as a Flink job": ["--flink"],
        "tables, folded too": ["--fold"],
    }
    for name, flags in ways.items():
        for _ in range(rounds if name == "tables" else 1):
            made.setdefault(name, []).append(_replayed(settings, flags))
        step(f"{name}: {', '.join(f'{one.rate:,.0f}/s' for one in made[name])}")
    for _ in range(rounds):
        made.setdefault("by hand", []).append(_by_hand(settings))
    step(f"by hand: {', '.join(f'{one.rate:,.0f}/s' for one in made['by hand'])}")
    (late,) = query(settings, "SELECT avg(CAST(list_contains(flags, 'late_action') AS INT)) AS share FROM predictions").to_pylist()
    rates = [one.rate for one in live]
    slowest = min(one.rate for one in made["tables"])
    return {
        "machine": machine(settings, {}, load),
        "actions": history.actions,
        "late_share": late["share"],
        "live": [asdict(one) | {"rate": one.rate} for one in live],
        "made_again": {name: [asdict(one) | {"rate": one.rate} for one in runs] for name, runs in made.items()},
        "slowest_replay_over_live": slowest / median(rates),
        "median_replay_over_by_hand": median(one.rate for one in made["tables"]) / median(one.rate for one in made["by hand"]),
        "equal": all(one.said.get("equal", True) for runs in made.values() for one in runs),
        "compared": {name: runs[0].said.get("predictions") for name, runs in made.items() if name != "by hand"},
    }


def disordered(rows: Iterable[Row], seed: int) -> list[Row]:
    """The rows as devices send them: 5 % come up to 200 places later, 1 % up to 20,000."""
    rng, placed = random.Random(seed), list[tuple[int, Row]]()
    for place, row in enumerate(rows):
        draw = rng.random()
        later = rng.randint(1, 200) if draw < _LITTLE_LATER else rng.randint(2_000, 20_000) if draw < _LITTLE_LATER + _MUCH_LATER else 0
        placed.append((place + later, row))
    return [row for _, row in sorted(placed, key=lambda pair: pair[0])]


def _drained(settings: Settings, name: str, rows: Iterable[Row], step: Callable[[str], None]) -> Drain:
    one, sent, got = drain(settings, flink_side(settings, GROUP), records(rows, load_contracts().topics[SOURCE_TOPIC].partitions))
    if said := faults(name, sent, got):
        raise AnswersWrong("\n".join(said))
    step(f"{name}: {one.actions:,} actions answered once each, {one.rate:,.0f}/s")
    return one


class _killer:  # noqa: N801 - a block
    """Kills the TaskManager that scores once so many answers are committed in the block; it was started by this program's own stack."""

    def __init__(self, settings: Settings, after: int, step: Callable[[str], None]) -> None:
        self._settings, self._after, self._step, self._over = settings, after, step, threading.Event()
        self._thread = threading.Thread(target=self._kill)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _kill(self) -> None:
        side = flink_side(self._settings, GROUP)
        before = side.committed()
        while not self._over.wait(0.2):
            if side.committed() - before >= self._after:
                for state in supervise.states(self._settings):
                    process = psutil.Process(state.pid) if state.name in TASKMANAGERS and state.pid else None
                    if process is not None and process.children():
                        process.kill()
                        self._step(f"killed {state.name}, process {state.pid}, which scores")
                        return


def _archived(settings: Settings, total: int, step: Callable[[str], None]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while (there := [count_rows(settings, table) for table in ("user_actions", "predictions")]) != [total, total]:
        if time.monotonic() > deadline:
            message = f"tables user_actions and predictions: expected {total:,} rows each within {_PATIENCE:.0f} s, got {there}"
            raise StreamhouseError(message)
        time.sleep(1)
    step(f"{total:,} actions and predictions are archived")


def _replayed(settings: Settings, flags: list[str]) -> Run:
    said, peak = _measured(settings, ["-m", "jobs.cli", "replay", "--json", *flags])
    return Run(said["actions"], said["seconds"], peak, said)


def _by_hand(settings: Settings) -> Run:
    said, peak = _measured(settings, ["-m", "tests.benchmarks.by_hand"])
    return Run(said["rows"], said["seconds"], peak, said)


def _measured(settings: Settings, words: list[str]) -> tuple[dict[str, Any], int]:
    """What a program of ours printed as JSON, and the most memory that it and its processes held."""
    environment, peak = {**os.environ, **settings.environment}, 0
    with subprocess.Popen([sys.executable, *words], cwd=settings.root, env=environment, stdout=subprocess.PIPE, text=True) as process:
        of = psutil.Process(process.pid)
        reader = threading.Thread(target=lambda: said.append(process.stdout.read() if process.stdout else ""))
        said: list[str] = []
        reader.start()
        while process.poll() is None:
            peak = max(peak, sum(_own(one) for one in _tree(of)))
            time.sleep(0.1)
        reader.join()
    return dict(orjson.loads(said[0])), peak


def _tree(process: psutil.Process) -> Iterator[psutil.Process]:
    try:
        yield process
        yield from process.children(recursive=True)
    except psutil.NoSuchProcess:
        return


def _own(process: psutil.Process) -> int:
    """Resident bytes, those that processes share counted once among them."""
    try:
        return int(process.memory_full_info().pss)
    except psutil.NoSuchProcess:
        return 0


def _said(sentences: Iterable[str], step: Callable[[str], None]) -> None:
    for sentence in sentences:
        step(sentence)


def shown(report: Mapping[str, Any]) -> Table:
    """The table for people."""
    title = (
        f"{report['actions']:,} actions, {100 * report['late_share']:.1f} % of them late; {'all equal' if report['equal'] else 'DIFFERENT'}"
    )
    table = Table(title=title, title_justify="left")
    for heading in ("", "records", "records/s, by round", "peak MiB"):
        table.add_column(heading, justify="left" if not heading else "right")
    table.add_row(
        "live", f"{sum(one['actions'] for one in report['live']):,}", " ".join(f"{one['rate']:,.0f}" for one in report["live"]), ""
    )
    for name, runs in report["made_again"].items():
        rates = " ".join(f"{one['rate']:,.0f}" for one in runs)
        table.add_row(name, f"{runs[0]['records']:,}", rates, f"{max(one['peak_bytes'] for one in runs) / 2**20:,.0f}")
    wrong = report["made_again"]["by hand"][0]["said"]["wrong"]
    table.caption = (
        f"slowest replay / median live drain: {report['slowest_replay_over_live']:.1f}; median replay / by hand:"
        f" {report['median_replay_over_by_hand']:.2f}; by hand {wrong:,} scores come out otherwise"
    )
    return table


def main(
    actions: Annotated[int, typer.Option(min=9_000)] = 1_000_000,
    rounds: Annotated[int, typer.Option(min=1, help="of replays and of the script")] = 3,
    json_file: Annotated[Path | None, typer.Option("--json", help="write everything there too")] = None,
) -> None:
    """Make a history live and make it again. Example: python -m tests.benchmarks.replay --actions 300000"""
    started = time.monotonic()

    def step(text: str) -> None:
        print(f"{time.monotonic() - started:6.1f} s  {text}", file=sys.stderr, flush=True)

    try:
        with stack({}, here=False) as settings:
            report = run(settings, actions, rounds, step)
    except StreamhouseError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(shown(report))
    console.print("\n".join(f"{name:<16} {value}" for name, value in report["machine"].items()), highlight=False)
    if json_file is not None:
        json_file.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    raise typer.Exit(0 if report["equal"] and report["slowest_replay_over_live"] >= _TIMES else 1)


if __name__ == "__main__":
    typer.run(main)
