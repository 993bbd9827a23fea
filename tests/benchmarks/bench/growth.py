"""How cost grows with users, features, trees, the size of an event, partitions, and commits to a table: each on the project's own code.

All but commits: CPU of the scoring path, decoding to prediction, in a process of its own, and of a Redis of its own (bench.path). Flink and
the broker, which see bytes alone, are left out.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

import orjson
import psutil

from infra.config import Settings
from infra.contracts import topics
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError
from infra.stack import supervise
from jobs.scoring_parts import SOURCE_TOPIC
from tests.benchmarks.bench import commits
from tests.benchmarks.bench.job import stop
from tests.benchmarks.bench.legs import OURS, Run, measured
from tests.benchmarks.bench.path import Task, topic
from tests.benchmarks.bench.path_cost import features_of
from tests.benchmarks.bench.ratios import growth_of
from tests.benchmarks.sides import own_redis

_PARTITIONS = 4
_MANY_USERS, _THEIR_BYTES = 1_000_000, 6 * 2**30
"""So many users are measured where this much memory is free."""
_REDIS = "8gb"
_USUAL_WINDOWS = (4, 2)
_ALL_TABLES = 100
"""Up to so many commits each table is measured; beyond, one, in several cycles."""


@dataclass(frozen=True)
class Plan:
    """At which sizes each axis is measured, and how often. `features`: as windows, and of how many of them visits are counted.

    `of_users`: how many there are on each other axis, half as many on that of features; `actions`: in each round.
    """

    users: tuple[int, ...]
    features: tuple[tuple[int, int], ...]
    trees: tuple[int, ...]
    sizes: tuple[int, ...]
    partitions: tuple[int, ...]
    commits: tuple[int, ...]
    rounds: int
    tables: int
    of_users: int
    actions: int


FULL = Plan(
    users=(1_000, 10_000, 100_000, _MANY_USERS),
    features=((1, 1), _USUAL_WINDOWS, (12, 2), (24, 6), (50, 4)),  # 8, 24, 64, 128, 256
    trees=(10, 100, 300, 1000),
    sizes=(240, 1_000, 3_000, 10_000),
    partitions=(1, 4, 16, 64),
    commits=(10, 100, 1_000),
    rounds=5,
    tables=3,
    of_users=10_000,
    actions=4_000,
)
QUICK = Plan(
    users=(1_000, 30_000),
    features=((1, 1), (50, 4)),
    trees=(10, 1000),
    sizes=(240, 10_000),
    partitions=(1, 64),
    commits=(10, 60),
    rounds=2,
    tables=1,
    of_users=3_000,
    actions=2_000,
)

Ask = Callable[[Task], list[dict[str, float]]]


def growth(run: Run, plan: Plan) -> None:
    """Each axis, each point a leg. The job is stopped before, as it would take part of the machine."""
    stop(run.settings)
    source = load_contracts().topics[SOURCE_TOPIC]
    usual = Task(plan.of_users, plan.actions, plan.rounds)
    of = sorted({_PARTITIONS, *plan.partitions})
    topics.apply(run.settings, [replace(source, name=topic(count), partitions=count) for count in of])
    room = replace(run.settings, redis=replace(run.settings.redis, max_memory=_REDIS))
    with own_redis(room, "growth", rows={}) as (port, _):
        with _worker(run.settings, port, _USUAL_WINDOWS) as ask:
            users = [count for count in plan.users if count < _MANY_USERS or psutil.virtual_memory().available > _THEIR_BYTES]
            tasks: dict[str, dict[int, Task]] = {
                "size": {size: replace(usual, size=size) for size in plan.sizes},
                "trees": {trees: replace(usual, trees=trees) for trees in plan.trees},
                "partitions": {count: replace(usual, actions=2 * plan.actions, partitions=count) for count in plan.partitions},
                "users": {count: replace(usual, users=count) for count in users},
            }
            for axis, points in tasks.items():
                for at, task in points.items():
                    _leg(run, axis, at, list(points), ask, task)
        counts = [features_of(*windows) for windows in plan.features]
        for at, windows in zip(counts, plan.features, strict=True):
            with _worker(run.settings, port, windows) as ask:
                _leg(run, "features", at, counts, ask, replace(usual, users=plan.of_users // 2, trees=100))
    _commits(run, plan)


def _leg(run: Run, axis: str, at: int, points: Sequence[int], ask: Ask, task: Task) -> None:
    """Figures: microseconds of CPU an action in each round, and of them those of Redis and of the model."""

    def costs() -> dict[str, Any]:
        found = ask(task)
        each = [cost["python_us"] + cost["redis_us"] for cost in found]
        parts = {name: [cost[name] for cost in found] for name in ("redis_us", "model_us")}
        return {"at": at, "point": at, "points": points, "each": each, **parts, "task": asdict(task)}

    ask(replace(task, rounds=1, actions=1_000))  # the model is made and the store is filled before that is measured
    last = measured(run, growth_of(axis), OURS, at, costs)[-1].figures
    of = ", ".join(f"{where} {median(last[figure]):.1f}" for where, figure in (("Redis", "redis_us"), ("the model", "model_us")))
    run.say(f"{axis} {at:,}: {min(last['each']):.1f} to {max(last['each']):.1f} us of CPU an action; in {of}")


def _commits(run: Run, plan: Plan) -> None:
    """Figures: milliseconds by the clock of a commit in each cycle, and of CPU."""
    tables = [commits.new_ledger(run.settings, number) for number in range(plan.tables)]
    for at in plan.commits:
        taken = tables if at <= _ALL_TABLES else [tables[0]] * len(tables)
        for table in taken:
            commits.bring_to(table, at)

        def costs(at: int = at, taken: Sequence[commits.Ledger] = taken) -> dict[str, Any]:
            begun = taken[0].count  # more than is wanted where it is measured again
            found = [commits.cycle(table) for table in taken]
            each, cpu = [one.milliseconds for one in found], [one.cpu_milliseconds for one in found]
            return {"at": begun, "point": at, "points": plan.commits, "each": each, "cpu_ms": cpu}

        last = measured(run, growth_of("commits"), OURS, at, costs)[-1].figures
        run.say(f"{at:,} commits: {min(last['each']):.1f} to {max(last['each']):.1f} ms each")


@contextlib.contextmanager
def _worker(settings: Settings, redis_port: str, windows: tuple[int, int]) -> Iterator[Ask]:
    """A process that answers tasks with what an action cost in each round."""
    environment = {**supervise.inherited(os.environ), **settings.environment}
    environment |= {"STREAMHOUSE_REDIS_PORT": redis_port, "STREAMHOUSE_SUPERVISED": str(settings.state)}
    command = [sys.executable, "-m", "tests.benchmarks.bench.path_cost", *map(str, windows)]
    with subprocess.Popen(command, cwd=settings.root, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        told, asked = process.stdout, process.stdin

        def answer() -> str:
            if not (line := told.readline()):
                message = "the process that measures the scoring path ended; what it said stands above"
                raise StreamhouseError(message)
            return line

        def ask(task: Task) -> list[dict[str, float]]:
            asked.write(orjson.dumps(asdict(task)).decode() + "\n")
            asked.flush()
            costs: list[dict[str, float]] = orjson.loads(answer())
            return costs

        try:
            if (features := int(answer())) != features_of(*windows):
                message = f"expected a scoring path of {features_of(*windows)} features, got one of {features}"
                raise StreamhouseError(message)
            yield ask
            asked.close()
            process.wait(30)
        finally:
            process.kill()
