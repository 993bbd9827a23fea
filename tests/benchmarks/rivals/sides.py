"""The rivals as sides of a benchmark: each with topics, a Redis, a group and a process of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
import psutil

from infra.config import Settings
from infra.contracts import topics
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError
from infra.stack.supervise import inherited
from jobs.scoring_parts import SOURCE_TOPIC
from tests.benchmarks.answers import Committed
from tests.benchmarks.processes import Groups, stack_groups
from tests.benchmarks.rivals.brief import brief
from tests.benchmarks.rivals.environment import interpreter
from tests.benchmarks.sides import Side, own_redis


@dataclass(frozen=True)
class Rival:
    """How it is run: a module of this folder, its arguments before the brief, its environment. `guarantee`: what it gives at its best."""

    module: str
    arguments: tuple[str, ...]
    environment: str
    guarantee: str


RIVALS = {
    "rows": Rival("bare", ("rows",), "bare", "at least once"),
    "fields": Rival("bare", ("fields",), "bare", "at least once"),
    "blobs": Rival("bare", ("blobs",), "bare", "at least once"),
}


@contextlib.contextmanager
def rival_side(settings: Settings, kind: str, name: str) -> Iterator[Side]:
    """The rival `kind` of RIVALS with topics and a Redis of its own, which holds what the stack's holds now; both end with the block.

    It writes no dead letters; the topic for them is there and stays empty, so that a side is a side.
    """
    rival, contracts = RIVALS[kind], load_contracts().topics
    like = {f"{name}-actions": SOURCE_TOPIC, f"{name}-predictions": "predictions", f"{name}-dlq": "user-actions-dlq"}
    topics.apply(settings, [replace(contracts[original], name=copy) for copy, original in like.items()])
    _, *sinks = like
    predictions, dead_letters = (Committed(settings, sink, contracts[like[sink]].partitions) for sink in sinks)
    python = interpreter(settings, rival.environment)
    with own_redis(settings, name) as (port, redis_process), _running(settings, rival, name, python, int(port)) as program:

        def processes() -> Groups:
            broker = stack_groups(settings).get("broker", [])
            with contextlib.suppress(psutil.NoSuchProcess):
                return {"broker": broker, kind: [program, *program.children(recursive=True)], "redis": [redis_process]}
            return {"broker": broker, kind: [], "redis": [redis_process]}

        yield Side(name, f"{name}-actions", predictions, dead_letters, processes)


@contextlib.contextmanager
def _running(settings: Settings, rival: Rival, name: str, python: Path, redis_port: int) -> Iterator[psutil.Process]:
    folder = settings.state / "rivals" / name
    folder.mkdir(parents=True, exist_ok=True)
    told = folder / "brief.json"
    told.write_bytes(orjson.dumps({**brief(settings, name, redis_port), "folder": str(folder)}))
    environment = {**inherited(os.environ), "PYTHONPATH": str(settings.root), "STREAMHOUSE_SUPERVISED": str(settings.state)}
    command = [str(python), "-P", "-m", f"tests.benchmarks.rivals.{rival.module}", *rival.arguments, str(told)]
    with subprocess.Popen(command, cwd=settings.root, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if process.stdout.readline() != "ready\n":
                message = f"the rival {name} ended at its start; what it said stands above"
                raise StreamhouseError(message)
            yield psutil.Process(process.pid)
            process.stdin.close()
            process.wait(30)
        finally:
            process.kill()
