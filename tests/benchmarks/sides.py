"""Who is measured: the Flink job and loops, each with its topics, its group, its processes and what it has answered."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import psutil
import redis

from features.online_keys import row_key
from infra.config import Settings
from infra.contracts import topics
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError
from infra.stack import supervise
from infra.stack.services import services
from jobs.scoring_parts import SOURCE_TOPIC
from tests.benchmarks import plain_loop
from tests.benchmarks.answers import Answers, Committed
from tests.benchmarks.processes import WORKERS, Groups, stack_groups
from tests.benchmarks.programs import Program, running
from tests.ports import free_ports

_CHUNK = 5000  # rows at a time
_FLINK = ("broker", "jobmanager", "taskmanager", WORKERS, "redis")


Item = TypeVar("Item")


@dataclass(frozen=True)
class Side:
    """One way to answer actions: it reads `source` and writes `predictions` and `dead_letters`. `check` raises when it has ended."""

    name: str
    source: str
    predictions: Committed
    dead_letters: Committed
    processes: Callable[[], Groups]
    check: Callable[[], None] = lambda: None

    def committed(self) -> int:
        """A number that grows with each committed answer, and a little more with each transaction. It costs a few small requests."""
        return self.predictions.end() + self.dead_letters.end()

    def take(self, got: Answers) -> None:
        """Add what was committed since the last call."""
        for message in self.predictions.read():
            got.add(message)
        for message in self.dead_letters.read():
            got.add_refusal(message)


def flink_side(settings: Settings, name: str) -> Side:
    """The job score_events on the stack."""
    names = "predictions", "user-actions-dlq"
    predictions, dead_letters = (Committed(settings, name, load_contracts().topics[name].partitions) for name in names)

    def processes() -> Groups:
        there = stack_groups(settings)
        return {name: there[name] for name in _FLINK if name in there}

    return Side(name, SOURCE_TOPIC, predictions, dead_letters, processes)


@contextlib.contextmanager
def loop_side(settings: Settings, name: str, batch_rows: int) -> Iterator[Side]:
    """A plain loop with topics and a Redis of its own, which holds what the stack's holds now; both end with the block."""
    contracts = load_contracts().topics
    sinks = plain_loop.sinks(name)
    like = {plain_loop.source(name): SOURCE_TOPIC, sinks[0]: "predictions", sinks[1]: "user-actions-dlq"}
    topics.apply(settings, [replace(contracts[original], name=copy) for copy, original in like.items()])
    predictions, dead_letters = (Committed(settings, sink, contracts[like[sink]].partitions) for sink in sinks)
    with own_redis(settings, name) as (port, redis_process), _running(settings, name, batch_rows, port) as loop:

        def processes() -> Groups:
            broker = stack_groups(settings).get("broker", [])
            return {"broker": broker, "loop": [psutil.Process(loop.process.pid)], "redis": [redis_process]}

        yield Side(name, plain_loop.source(name), predictions, dead_letters, processes, loop.check)


def rows_of(settings: Settings, users: Iterable[str]) -> dict[bytes, bytes]:
    """What the stack's Redis holds of these users now: the name of each one's row, and the row as Redis dumps it."""
    keys = list(map(row_key, dict.fromkeys(users)))
    with contextlib.closing(redis.Redis(host=settings.redis.host, port=settings.redis.port, decode_responses=False)) as client:
        return _dumped(client, keys)


@contextlib.contextmanager
def own_redis(settings: Settings, name: str, rows: Mapping[bytes, bytes] | None = None) -> Iterator[tuple[str, psutil.Process]]:
    """A second Redis, so that neither side warms the other or takes its leases. It lies where `down` finds it if this program is killed.

    It holds `rows`, or else all that the stack's holds now; its files are deleted with the block's end.
    """
    (port,) = free_ports(1)
    own = replace(settings, redis=replace(settings.redis, port=int(port)))
    (command,) = (service.command for service in services(own) if service.name == "redis")
    try:
        with subprocess.Popen([*command, "--appendfilename", f"{name}.aof"], stdout=subprocess.DEVNULL) as process:
            try:
                with contextlib.closing(redis.Redis(host=settings.redis.host, port=int(port), decode_responses=False)) as new:
                    deadline = time.monotonic() + 180
                    while not _answers(new):
                        if time.monotonic() > deadline or process.poll() is not None:
                            message = f"the Redis of {name} does not answer on port {port}"
                            raise StreamhouseError(message)
                        time.sleep(0.05)
                    _restore(new, _everything(settings) if rows is None else rows)
                yield port, psutil.Process(process.pid)
            finally:
                process.terminate()
    finally:
        for file in (settings.state / "redis").rglob(f"{name}.aof*"):  # one, or since Redis 7 several in a folder
            file.unlink()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def _everything(settings: Settings) -> dict[bytes, bytes]:
    with contextlib.closing(redis.Redis(host=settings.redis.host, port=settings.redis.port, decode_responses=False)) as client:
        return _dumped(client, list(client.scan_iter(count=1000)))


def _dumped(client: redis.Redis, keys: Sequence[bytes]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for some in _batched(keys):
        pipe = client.pipeline(transaction=False)
        for key in some:
            pipe.dump(key)
        found |= {key: row for key, row in zip(some, pipe.execute(), strict=True) if row is not None}
    return found


def _restore(client: redis.Redis, rows: Mapping[bytes, bytes]) -> None:
    for some in _batched(list(rows.items())):
        pipe = client.pipeline(transaction=False)
        for key, row in some:
            pipe.restore(key, 0, row)
        pipe.execute()


def _batched(of: Sequence[Item]) -> Iterator[Sequence[Item]]:
    return (of[start : start + _CHUNK] for start in range(0, len(of), _CHUNK))


@contextlib.contextmanager
def _running(settings: Settings, name: str, batch_rows: int, redis_port: str) -> Iterator[Program]:
    environment = {**supervise.inherited(os.environ), **settings.environment}
    environment |= {"STREAMHOUSE_REDIS_PORT": redis_port, "STREAMHOUSE_SUPERVISED": str(settings.state)}
    command = [sys.executable, "-m", "tests.benchmarks.plain_loop", name, str(batch_rows)]
    with running(f"loop {name}", command, environment, settings.root, settings.state / f"{name}.said") as program:
        program.wait_until_ready()
        yield program
