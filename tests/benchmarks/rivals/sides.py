"""The rivals as sides of a benchmark: each with topics, a Redis, a group and a process of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import psutil
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.config import Settings
from infra.contracts import topics
from infra.contracts.load import load_contracts
from infra.stack.supervise import inherited
from jobs.scoring_parts import SOURCE_TOPIC
from tests.benchmarks.answers import Committed
from tests.benchmarks.processes import Groups, stack_groups
from tests.benchmarks.programs import Program, running
from tests.benchmarks.rivals.brief import brief
from tests.benchmarks.rivals.environment import interpreter
from tests.benchmarks.sides import Side, own_redis

_SECONDS = 15.0


@dataclass(frozen=True)
class Rival:
    """How it is run: a module of this folder, its arguments before the brief, its environment, in how many processes that share out the
    partitions. `guarantee`: what it gives at its best.
    """

    module: str
    arguments: tuple[str, ...]
    environment: str
    guarantee: str
    processes: int = 1


_BUT = "exactly once, but for the state"
# two processes, as ours has two workers in drains; Pathway has one: what it persists does not follow where a group shares partitions anew
RIVALS = {
    "rows": Rival("bare", ("rows",), "bare", "at least once", processes=2),
    "fields": Rival("bare", ("fields",), "bare", "at least once", processes=2),
    "blobs": Rival("bare", ("blobs",), "bare", "at least once", processes=2),
    "quix_rows": Rival("quix", ("rows",), "quix", _BUT),
    "quix": Rival("quix", ("batches",), "quix", _BUT, processes=2),
    "bytewax": Rival("bytewax_flow", (), "bytewax", "at least once", processes=2),
    "pathway": Rival("pathway_flow", (), "pathway", "at least once"),
}


@contextlib.contextmanager
def rival_side(settings: Settings, kind: str, name: str, rows: Mapping[bytes, bytes] | None = None) -> Iterator[Side]:
    """The rival `kind` of RIVALS with topics and a Redis of its own, which holds `rows`, or else what the stack's holds now; all that is
    its own is gone after the block.

    It writes no dead letters; the topic for them is there and stays empty, so that a side is a side.
    """
    rival, contracts = RIVALS[kind], load_contracts().topics
    like = {f"{name}-actions": SOURCE_TOPIC, f"{name}-predictions": "predictions", f"{name}-dlq": "user-actions-dlq"}
    python = interpreter(settings, rival.environment)
    with contextlib.ExitStack() as ends:
        ends.callback(_forget, settings, name, list(like))
        topics.apply(settings, [replace(contracts[original], name=copy) for copy, original in like.items()])
        _, *sinks = like
        predictions, dead_letters = (
            ends.enter_context(contextlib.closing(Committed(settings, sink, contracts[like[sink]].partitions))) for sink in sinks
        )
        port, redis_process = ends.enter_context(own_redis(settings, name, rows))
        command = [str(python), "-P", "-m", f"tests.benchmarks.rivals.{rival.module}", *rival.arguments]
        task = {**brief(settings, name, int(port)), "processes": rival.processes}
        programs = [ends.enter_context(_running(settings, command, task, process)) for process in range(rival.processes)]
        for program in programs:
            program.wait_until_ready()
        of_programs = [psutil.Process(program.process.pid) for program in programs]

        def processes() -> Groups:
            return {"broker": stack_groups(settings).get("broker", []), kind: of_programs, "redis": [redis_process]}

        def check() -> None:
            for program in programs:
                program.check()

        yield Side(name, f"{name}-actions", predictions, dead_letters, processes, check)


@contextlib.contextmanager
def _running(settings: Settings, command: list[str], task: dict[str, Any], process: int) -> Iterator[Program]:
    folder = _folder(settings, task["name"]) / str(process)
    folder.mkdir(parents=True, exist_ok=True)
    told = folder / "brief.json"
    told.touch(0o600)  # the broker's password may stand in it
    told.write_bytes(orjson.dumps({**task, "process": process, "folder": str(folder)}))
    environment = {**inherited(os.environ), "PYTHONPATH": str(settings.root), "STREAMHOUSE_SUPERVISED": str(settings.state)}
    with running(f"the rival {task['name']}", [*command, str(told)], environment, settings.root, folder / "said") as program:
        yield program


def _folder(settings: Settings, name: str) -> Path:
    return settings.state / "rivals" / name


def _forget(settings: Settings, name: str, its_topics: list[str]) -> None:
    """Delete what a rival leaves. Where the broker does not answer, that goes with the stack."""
    shutil.rmtree(_folder(settings, name), ignore_errors=True)
    client = AdminClient({**settings.kafka.client(), "log_level": "0"})
    asked = {
        **client.delete_topics(its_topics, operation_timeout=_SECONDS),
        **client.delete_consumer_groups([name], request_timeout=_SECONDS),
    }
    for future in asked.values():
        # not every rival has a group, and one that ends as a crash would end it has a member in it for some time
        with contextlib.suppress(KafkaException):
            future.result(_SECONDS)
