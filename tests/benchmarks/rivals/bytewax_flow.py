"""The same work with Bytewax: at least once, which is the best that its Kafka sink offers.

    python -m tests.benchmarks.rivals.bytewax_flow BRIEF

Its own Kafka source and sink, and between them one step that takes what the source polled from a partition as a batch. Offsets are
kept in its recovery store, with a snapshot each second. "ready": all partitions are assigned.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax._bytewax import cli_main
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir

from tests.benchmarks.rivals.clients import partitions, ready, told, when_input_ends
from tests.benchmarks.rivals.states import Blobs, States
from tests.benchmarks.rivals.work import Work, decode

_BATCH = 1000  # its default; each batch is of one partition, and ends with a wait for the broker's acknowledgement
_EPOCH = timedelta(seconds=1)
_WORKERS = 1  # two are threads that share the interpreter's lock: a quarter more CPU for each action, and no faster


class Shared(KafkaSource):
    """Reads the partitions of this process, and says when all of them are assigned.

    Two flows side by side, as nothing goes from one partition to another: a cluster would only add that its processes wait for each other.
    """

    def __init__(self, partitions: list[int], **arguments: Any) -> None:
        super().__init__(**arguments)
        self._partitions, self._missing = partitions, len(partitions)

    def list_parts(self) -> list[str]:
        """As the source names them: partition and topic."""
        return [part for part in super().list_parts() if int(part.split("-", 1)[0]) in self._partitions]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> Any:
        """Count what is built."""
        part = super().build_part(step_id, for_part, resume_state)
        self._missing -= 1
        if not self._missing:
            ready()
        return part


def answers(work: Work, states: States) -> Callable[[list[Any]], list[Any]]:
    """Messages of one partition -> their predictions."""

    def answer(messages: list[Any]) -> list[Any]:
        events = [decode(message.value) for message in messages]
        users = states.read(dict.fromkeys(event.data.user_id for event in events))
        values = work.answer(events, [(message.partition, message.offset) for message in messages], users)
        states.write(users)
        return [KafkaSinkMessage(message.key, value) for message, value in zip(messages, values, strict=True)]

    return answer


def flow(task: dict[str, Any]) -> Dataflow:
    """Source, one step, sink."""
    work = Work(task)
    states = Blobs(task, work)
    states.preload()
    kafka = dict(task["kafka"])
    brokers = kafka.pop("bootstrap.servers").split(",")
    made = Dataflow("rival")
    source = Shared(
        partitions(task),
        brokers=brokers,
        topics=[task["source"]],
        # each partition has a consumer of its own: without statistics each second, which only feed a gauge
        add_config={**kafka, "statistics.interval.ms": "0", "queued.max.messages.kbytes": "32768"},
        batch_size=_BATCH,
    )
    sink = KafkaSink(brokers, task["sink"], {**kafka, "compression.type": "lz4", "partitioner": "murmur2_random"})
    actions = op.input("actions", made, source)
    op.output("predictions", op.flat_map_batch("score", actions, answers(work, states)), sink)
    return made


def main() -> None:
    """Run until standard input ends; then at once, as a crash would end it."""
    when_input_ends(lambda: os._exit(0))
    task = told()
    store = Path(task["folder"]) / "recovery"
    if not store.is_dir():
        store.mkdir(parents=True)
        init_db_dir(store, 1)
    cli_main(flow(task), workers_per_process=_WORKERS, epoch_interval=_EPOCH, recovery_config=RecoveryConfig(store))


if __name__ == "__main__":
    main()
