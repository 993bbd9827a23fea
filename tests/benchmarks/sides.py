"""Who is measured: the Flink job and loops, each with its topics, its group, its processes and what it has answered."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import psutil
import redis

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
from tests.ports import free_ports

_FLINK = ("broker", "jobmanager", "taskmanager", WORKERS, "redis")


@dataclass(frozen=True)
class Side:
    """One way to answer actions: it reads `source` and writes `predictions` and `dead_letters`."""

    name: str
    source: str
    predictions: Committed
    dead_letters: Committed
    processes: Callable[[], Groups]

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
            return {"broker": broker, "loop": [loop], "redis": [redis_process]}

        yield Side(name, plain_loop.source(name), predictions, dead_letters, processes)


@contextlib.contextmanager
def own_redis(settings: Settings, name: str, *, is_empty: bool = False) -> Iterator[tuple[str, psutil.Process]]:
    """A second Redis, so that neither side warms the other or takes its leases. It lies where `down` finds it if this program is killed.

    It holds what the first one holds unless it is to be empty.
    """
    (port,) = free_ports(1)
    own = replace(settings, redis=replace(settings.redis, port=int(port)))
    (command,) = (service.command for service in services(own) if service.name == "redis")
    with subprocess.Popen([*command, "--appendfilename", f"{name}.aof"], stdout=subprocess.DEVNULL) as process:
        try:
            there, new = (redis.Redis(host=settings.redis.host, port=int(p), decode_responses=False) for p in (settings.redis.port, port))
            deadline = time.monotonic() + 180
            while not _answers(new):
                if time.monotonic() > deadline or process.poll() is not None:
                    message = f"the Redis of loop {name} does not answer on port {port}"
                    raise StreamhouseError(message)
                time.sleep(0.05)
            if not is_empty:
                _copy_rows(there, new)
            there.close()
            new.close()
            yield port, psutil.Process(process.pid)
        finally:
            process.terminate()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def _copy_rows(there: redis.Redis, new: redis.Redis) -> None:
    keys = list(there.scan_iter(count=1000))
    reading, writing = there.pipeline(transaction=False), new.pipeline(transaction=False)
    for key in keys:
        reading.dump(key)
    for key, row in zip(keys, reading.execute(), strict=True):
        writing.restore(key, 0, row)
    writing.execute()


@contextlib.contextmanager
def _running(settings: Settings, name: str, batch_rows: int, redis_port: str) -> Iterator[psutil.Process]:
    environment = {**supervise.inherited(os.environ), **settings.environment}
    environment |= {"STREAMHOUSE_REDIS_PORT": redis_port, "STREAMHOUSE_SUPERVISED": str(settings.state)}
    command = [sys.executable, "-m", "tests.benchmarks.plain_loop", name, str(batch_rows)]
    with subprocess.Popen(command, cwd=settings.root, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if process.stdout.readline() != "ready\n":
                message = f"loop {name} ended at its start; what it said stands above"
                raise StreamhouseError(message)
            yield psutil.Process(process.pid)
            process.stdin.close()
            process.wait(30)
        finally:
            process.kill()
