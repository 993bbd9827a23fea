"""How long a job takes to start: from `./streamhouse submit score_events` to its first prediction, and where that time goes.

    .streamhouse/env/bin/python -m tests.benchmarks.submit [--rounds R] [--before CLONE] [--json FILE]

It brings up a stack of its own. In each round actions are sent, then the job is submitted by the command line as a person would, and it
is stopped with a savepoint. What happens when is seen from outside, so that any version can be measured: processes as they come and go,
the JobManager's own times, a consumer of committed predictions. CPU seconds say more than the clock on a machine that others use too.
`--before` names a clone with another version: it gets a stack as well, and the two take turns. The first start of a stack finds its
TaskManager cold and is told apart.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import httpx
import psutil
import typer
from confluent_kafka import Consumer, TopicPartition
from rich.console import Console
from rich.table import Table

from infra.config import ROOT, Settings, load_settings
from infra.errors import StreamhouseError
from infra.stack import flink_rest, supervise
from infra.stack.apart import clear, settings_apart
from jobs import interrupts
from jobs.answered import PREDICTIONS
from jobs.submit import SCORER
from tests.benchmarks.place import alone
from tests.benchmarks.processes import Meter, stack_groups
from tests.end_to_end.actions import minutes, send

_LOOK_SECONDS = 0.01
_PATIENCE = 180.0


@dataclass(frozen=True)
class Start:
    """One start: seconds since the command until each moment, seconds of CPU by group of processes ("client": what the command ran)."""

    moments: dict[str, float]
    cpu_seconds: dict[str, float]


@dataclass
class _Seen:
    """Which programs came and went, by what they are; each counts from its first to its last process."""

    began: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)
    _kinds: dict[int, str] = field(default_factory=dict)

    def look(self, roots: list[psutil.Process]) -> None:
        now, here = time.time(), set()
        for root in roots:
            with contextlib.suppress(psutil.NoSuchProcess):
                for process in root.children(recursive=True):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        here.add(process.pid)
                        kind = _kind(process)
                        # a process becomes another program by `exec`
                        if kind and self._kinds.get(process.pid) != kind:
                            self._kinds[process.pid] = kind
                            self.began.setdefault(kind, now)
        for pid in set(self._kinds) - here:
            self.ended[self._kinds.pop(pid)] = now


def _kind(process: psutil.Process) -> str:
    words = " ".join(process.cmdline())
    if "models.trial_child" in words:
        return "trial"
    if "CliFrontend" in words and "/java" in words.split(" ", 1)[0]:
        return "client java"
    if "bin/flink" in words:
        return "flink's script"
    if "jobs/score_events.py" in words and "python" in words.split(" ", 1)[0]:
        return "program"
    return ""


def start(settings: Settings, clone: Path) -> Start:
    """Submit the job with three actions before it, and wait until the first is answered."""
    predictions = _at_the_end(settings)
    send(settings, f"submit-{uuid.uuid4()}", *minutes(0, 1, 2))
    forkserver = [psutil.Process(state.pid) for state in supervise.states(settings) if state.name == "forkserver"]
    meter, seen, over = Meter(lambda: stack_groups(settings)), _Seen(), threading.Event()
    moments: dict[str, float] = {}
    before = _ended_seconds(psutil.Process(), *forkserver)
    began = time.time()
    command = subprocess.Popen(
        [str(clone / "streamhouse"), "submit", SCORER], env=_environment(settings), stdout=subprocess.PIPE, text=True
    )
    roots = [psutil.Process(command.pid), *forkserver]

    def watch() -> None:
        while not over.wait(_LOOK_SECONDS):
            seen.look(roots)

    def listen() -> None:
        said = command.communicate()[0]
        moments["the command has ended"] = time.time() - began
        if command.returncode:
            moments["refused"] = float(command.returncode)
            print(said, file=sys.stderr)

    threads = [threading.Thread(target=watch), threading.Thread(target=listen)]
    for thread in threads:
        thread.start()
    try:
        deadline = time.monotonic() + _PATIENCE
        while (message := predictions.poll(0.05)) is None or message.error():
            if time.monotonic() > deadline or "refused" in moments:
                fault = f"expected a prediction within {_PATIENCE:.0f} s of {clone / 'streamhouse'} submit {SCORER}, got none"
                raise StreamhouseError(fault)
        moments["first prediction"] = time.time() - began
    finally:
        threads[1].join()
        over.set()
        threads[0].join()
        predictions.close()
    for kind, at in seen.began.items():
        moments[f"{kind} begins"] = at - began
    for kind, at in seen.ended.items():
        moments[f"{kind} has ended"] = at - began
    moments |= {name: at - began for name, at in _flink_times(settings).items()}
    used = meter.cpu_seconds() | {"client": _ended_seconds(psutil.Process(), *forkserver) - before}
    return Start(
        dict(sorted(moments.items(), key=lambda one: one[1])), {name: round(used[name], 2) for name in sorted(used) if used[name] > 0.05}
    )


def _ended_seconds(*parents: psutil.Process) -> float:
    """Of the command and its processes, and of a program that the forkserver forked: workers of the job before ended earlier."""
    return sum(times.children_user + times.children_system for times in (parent.cpu_times() for parent in parents))


def _environment(settings: Settings) -> dict[str, str]:
    return {**supervise.inherited(os.environ), **settings.environment, "STREAMHOUSE_STATE": str(settings.state)}


def _at_the_end(settings: Settings) -> Consumer:
    consumer = Consumer(
        {**settings.kafka.client(), "group.id": "benchmark-submit", "enable.auto.commit": False, "isolation.level": "read_committed"}
    )
    partitions = consumer.list_topics(PREDICTIONS, timeout=10).topics[PREDICTIONS].partitions
    places = [TopicPartition(PREDICTIONS, partition) for partition in partitions]
    ends = [consumer.get_watermark_offsets(place, timeout=10.0)[1] for place in places]
    consumer.assign([TopicPartition(place.topic, place.partition, end) for place, end in zip(places, ends, strict=True)])
    return consumer


def _flink_times(settings: Settings) -> dict[str, float]:
    job = flink_rest.alive(settings, SCORER)
    if job is None:
        return {}
    known: dict[str, Any] = httpx.get(f"{settings.flink.rest_url}/jobs/{job.id}", timeout=10).json()
    tasks = [
        task["start-time"]
        for vertex in known["vertices"]
        for task in httpx.get(f"{settings.flink.rest_url}/jobs/{job.id}/vertices/{vertex['id']}", timeout=10).json()["subtasks"]
    ]
    return {
        "the JobManager has the job": known["timestamps"]["INITIALIZING"] / 1000,
        "the job is RUNNING": known["timestamps"]["RUNNING"] / 1000,
        "its last task is deployed": max(tasks) / 1000,
    }


@contextlib.contextmanager
def _stack(clone: Path) -> Iterator[Settings]:
    """A stack of the clone's own version, ended and deleted afterwards."""
    settings = settings_apart(clone / ".streamhouse" / "benchmark-submit")
    try:
        for command in (("up",), ("apply",)):
            done = subprocess.run(
                [str(clone / "streamhouse"), *command], env=_environment(settings), capture_output=True, text=True, check=False, timeout=900
            )
            if done.returncode:
                message = f"{clone / 'streamhouse'} {command[0]}: {done.stderr[-300:]}"
                raise StreamhouseError(message)
        yield settings
    finally:
        interrupts.ignore()  # one more while the stack ends would leave it running
        clear(settings)


def run(clones: dict[str, Path], rounds: int, pause: float, step: Callable[[str], None]) -> dict[str, list[Start]]:
    """Starts by version, the first of each on a cold TaskManager."""
    starts: dict[str, list[Start]] = {name: [] for name in clones}
    interrupts.heed()
    with contextlib.ExitStack() as ends:
        ends.enter_context(alone(load_settings()))
        stacks = {name: ends.enter_context(_stack(clone)) for name, clone in clones.items()}
        for number in range(rounds + 1):
            for name, clone in clones.items():
                time.sleep(pause)
                one = start(stacks[name], clone)
                starts[name].append(one)
                step(
                    f"{name} {number or 'cold'}: first prediction after {one.moments['first prediction']:.1f} s,"
                    f" client {one.cpu_seconds['client']:.1f} s of CPU"
                )
                job = flink_rest.alive(stacks[name], SCORER)
                assert job is not None
                time.sleep(2)  # its first checkpoints
                flink_rest.stop_with_savepoint(stacks[name], job)
    return starts


def show(starts: dict[str, list[Start]], console: Console) -> None:
    """Each moment and each group's CPU as median (min - max) by version, and the ratio of the medians."""
    first, *others = starts
    for title, pick in (("seconds since the command", "moments"), ("seconds of CPU", "cpu_seconds")):
        table = Table(title=title)
        table.add_column("")
        for name in starts:
            table.add_column(f"{name}, cold", justify="right")
            table.add_column(f"{name}, median (min - max)", justify="right")
        if others:
            table.add_column(f"{others[0]} / {first}", justify="right")
        keys = list(dict.fromkeys(key for ones in starts.values() for one in ones for key in getattr(one, pick)))
        middles = {
            (name, key): median(values)
            for name, ones in starts.items()
            for key in keys
            if (values := [getattr(one, pick)[key] for one in ones[1:] if key in getattr(one, pick)])
        }
        for key in sorted(keys, key=lambda key: middles.get((first, key), middles.get((others[0], key), 0.0) if others else 0.0)):
            cells = []
            for ones in starts.values():
                values = [getattr(one, pick)[key] for one in ones[1:] if key in getattr(one, pick)]
                cold = getattr(ones[0], pick).get(key)
                cells += [
                    "" if cold is None else f"{cold:.2f}",
                    f"{median(values):.2f} ({min(values):.2f} - {max(values):.2f})" if values else "",
                ]
            if others:
                old, new = middles.get((others[0], key)), middles.get((first, key))
                cells.append(f"{old / new:.2f}" if old and new else "")
            table.add_row(key, *cells)
        console.print(table)


def main(
    rounds: Annotated[int, typer.Option(help="starts that count, after a cold one", min=1)] = 5,
    before: Annotated[Path | None, typer.Option(help="a clone with another version, to take turns with")] = None,
    pause: Annotated[float, typer.Option(help="seconds between two starts")] = 5.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="write every start to this file")] = None,
) -> None:
    """Measure, and print a table."""
    clones = {"this": ROOT} | ({"before": before.resolve()} if before else {})
    load = os.getloadavg()[0]
    starts = run(clones, rounds, pause, lambda said: print(said, file=sys.stderr, flush=True))
    show(starts, Console(width=max(140, shutil.get_terminal_size().columns)))
    print(f"load average {load:.1f} at the start, {os.getloadavg()[0]:.1f} at the end, {os.cpu_count()} cores")
    if json_file is not None:
        told = {name: [{"moments": one.moments, "cpuSeconds": one.cpu_seconds} for one in ones] for name, ones in starts.items()}
        json_file.write_text(json.dumps({"load": [load, os.getloadavg()[0]], "starts": told}, indent=1), "utf-8")


if __name__ == "__main__":
    typer.run(main)
