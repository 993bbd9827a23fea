"""The same work with Pathway: at least once, which is what its free edition offers.

    python -m tests.benchmarks.rivals.pathway_flow BRIEF

A table's rows have no order and its functions are called in any, which a fold in the order of the log cannot use. What can is a
subscription: it says when a minibatch ends. There its rows are sorted by offset, answered at once, and sent by a producer of ours, as the
way back into a table would cost each row another crossing from Python. Its input is persisted each second; to persist offsets alone takes
a key that one has to sign up for.
"ready": about to run; it has no hook for more.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import pathway as pw

from tests.benchmarks.rivals.clients import produce, producer, ready, told, when_input_ends
from tests.benchmarks.rivals.states import Blobs
from tests.benchmarks.rivals.work import Action, Place, Work, decode

_MINIBATCH_MS = 20  # 1.5 s is the default and the latency; under load a minibatch holds thousands either way
_SNAPSHOT_MS = 1000
_BATCH = 2000  # as many are answered at once


def run(task: dict[str, Any]) -> None:
    """Answer what comes."""
    work = Work(task)
    states = Blobs(task, work)
    states.preload()
    sink, topic = producer(task), task["sink"]
    events: list[Action] = []
    places: list[Place] = []

    def taken(key: Any, row: dict[str, Any], time: int, is_addition: bool) -> None:
        events.append(decode(row["data"]))
        places.append((row["partition"], row["offset"]))

    def answered(time: int) -> None:
        if not events:  # time passes without rows, too
            return
        order = sorted(range(len(events)), key=places.__getitem__)
        for begin in range(0, len(order), _BATCH):
            part = order[begin : begin + _BATCH]
            some = [events[i] for i in part]
            keys = [event.data.user_id for event in some]
            users = states.read(dict.fromkeys(keys))
            values = work.answer(some, [places[i] for i in part], users)
            states.write(users)
            produce(sink, topic, keys, values)
        sink.flush()  # a snapshot of the offsets may follow
        events.clear()
        places.clear()

    actions = pw.io.kafka.read(
        {**task["kafka"], "group.id": task["name"], "auto.offset.reset": "earliest", "isolation.level": "read_committed"},
        task["source"],
        format="raw",
        with_metadata=True,
        autocommit_duration_ms=_MINIBATCH_MS,
        name="actions",
    )
    # its engine takes them out of the JSON, Python would have to do so row by row
    place = {name: pw.this._metadata[name].as_int() for name in ("partition", "offset")}
    pw.io.subscribe(actions.select(pw.this.data, **place), on_change=taken, on_time_end=answered)
    ready()
    pw.run(
        monitoring_level=pw.MonitoringLevel.NONE,
        persistence_config=pw.persistence.Config(
            pw.persistence.Backend.filesystem(os.path.join(task["folder"], "persisted")),  # noqa: PTH118 - as it wants it
            snapshot_interval_ms=_SNAPSHOT_MS,
        ),
    )


def main() -> None:
    """Run until standard input ends; then at once, as a crash would end it."""
    logging.disable(logging.INFO)  # a line for each snapshot
    when_input_ends(lambda: os._exit(0))
    run(told())


if __name__ == "__main__":
    main()
