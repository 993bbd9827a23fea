"""The same work with Quix Streams, exactly once: answers and offsets in one Kafka transaction a second.

    python -m tests.benchmarks.rivals.quix rows|batches BRIEF

- `rows`: as its documentation has it, a function that is applied to one message at a time: GET, score, SET.
- `batches`: the messages of a checkpoint go to a sink of ours, which answers them by the hundred and hands the predictions to the
  application's own producer. A checkpoint flushes its sinks before it adds the offsets to the transaction, so this is exactly once, too.

The state in Redis is no part of the transaction: after a crash up to a second of actions is counted twice. What is left of a batch
waits for the checkpoint, so drains of less than a second say little. "ready": all processes of the group have their partitions.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from quixstreams import Application
from quixstreams.context import message_context
from quixstreams.kafka import ConnectionConfig
from quixstreams.sinks import BaseSink

from tests.benchmarks.rivals.clients import partitions, ready, told, when_input_ends
from tests.benchmarks.rivals.states import Blobs, States
from tests.benchmarks.rivals.work import Action, Place, Work, decode

_BATCH = 512
_COMMIT_SECONDS = 1.0


class Told(Application):
    """Says when it has its share of the partitions, for which it has no public hook."""

    share = 0

    def _on_assign(self, consumer: Any, topic_partitions: list[Any]) -> None:
        super()._on_assign(consumer, topic_partitions)
        if len(topic_partitions) == self.share:  # the first of a group has all of them for a moment
            ready()


class Scored(BaseSink):
    """Takes actions, and produces their predictions inside the checkpoint's transaction."""

    def __init__(self, task: dict[str, Any], work: Work, states: States, producer: Any) -> None:
        super().__init__(on_client_connect_success=lambda: None)
        self._work, self._states, self._produce, self._topic = work, states, producer.produce, task["sink"]
        self._events: list[Action] = []
        self._places: list[Place] = []

    def add(self, value: Any, key: Any, timestamp: int, headers: Any, topic: str, partition: int, offset: int) -> None:
        """Keep an action, and answer when there are enough: what is left to the checkpoint should be little."""
        self._events.append(decode(value))
        self._places.append((partition, offset))
        if len(self._events) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Answer what there is."""
        if self._events:
            events, places = self._events, self._places
            self._events, self._places = [], []
            users = self._states.read(dict.fromkeys(event.data.user_id for event in events))
            values = self._work.answer(events, places, users)
            self._states.write(users)
            for event, value in zip(events, values, strict=True):
                self._produce(topic=self._topic, key=event.data.user_id.encode(), value=value)

    def on_paused(self) -> None:
        """Nothing pauses it."""


def application(task: dict[str, Any]) -> Told:
    """Tuned: a commit each second, no waiting for the broker between messages, nothing kept in its own state store."""
    return Told(
        broker_address=ConnectionConfig.from_librdkafka_dict(task["kafka"]),
        consumer_group=task["name"],
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        commit_interval=_COMMIT_SECONDS,
        consumer_poll_timeout=0.05,  # 1 s is the default, for which a checkpoint would wait after the last message
        consumer_extra_config={"queued.max.messages.kbytes": 131_072},
        producer_extra_config={"compression.type": "lz4", "partitioner": "murmur2_random"},
        use_changelog_topics=False,
        auto_create_topics=False,
        state_dir=Path(task["folder"]) / "state",
        loglevel="WARNING",
    )


def run(task: dict[str, Any], mode: str) -> None:
    """Answer what comes until a signal ends it."""
    work = Work(task)
    states = Blobs(task, work)
    states.preload()
    app = application(task)
    app.share = len(partitions(task))
    actions = app.dataframe(app.topic(task["source"], key_deserializer="bytes", value_deserializer="bytes"))
    if mode == "batches":
        # the application's own producer is the only one that writes into its transaction, and has no public name
        actions.sink(Scored(task, work, states, app._producer))
    else:

        def scored(value: bytes) -> bytes:
            event, place = decode(value), message_context()
            name = event.data.user_id
            user = states.read_one(name)
            (answer,) = work.answer([event], [(place.partition, place.offset)], {name: user})
            states.write_one(name, user)
            return answer

        answers = app.topic(task["sink"], key_serializer="bytes", value_serializer="bytes")
        actions.apply(scored).to_topic(answers)
    app.run()


def main() -> None:
    """Run until standard input ends; then as a SIGTERM ends it, with a last checkpoint."""
    when_input_ends(lambda: os.kill(os.getpid(), signal.SIGTERM))
    run(told(), sys.argv[1])


if __name__ == "__main__":
    main()
