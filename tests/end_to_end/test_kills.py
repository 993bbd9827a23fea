"""SIGKILL of the TaskManager at chosen points of its work, at parallelism 2: the same scores as the undisturbed run at 1, each once.

The short round plays the first actions of the clickstream and kills once at each kind of point; `--full` plays all 31,106 and kills
nine times. What an action's features are depends on earlier actions alone, so a prefix must score as it does in the whole.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from itertools import islice
from typing import Any

import orjson
import psutil
import pytest
import redis
from confluent_kafka import Producer

from infra.config import ROOT, Settings
from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from infra.stack import flink_rest
from jobs.clickstream import Row, open_clickstream, rows
from jobs.demo import bring_profiles
from jobs.submit import submit
from jobs.watch import Watch
from tests.end_to_end.facts import Place, pid_of, place_of, records, restarts, table_holds, wait_for
from tests.end_to_end.stacks import fresh_stack

pytestmark = pytest.mark.timeout(1500)
SEED = 20_240_629
PER_SECOND = 500
TRICKLE = 50  # a second, in the last third of a part until the kill: it lies in the midst of the work, however slow the machine
PARTITIONS = load_contracts().topics["user-actions"].partitions

Answer = tuple[str, bytes]  # what was scored, as bytes: the score and all that it was made from


def test_kills_at_parallelism_2_leave_the_scores_of_the_undisturbed_run_at_1(played: Settings, full: bool) -> None:
    rng = random.Random(SEED)
    points = [after_the_store_was_written, after_the_barrier, after_the_checkpoint] * (3 if full else 1)
    clickstream = open_clickstream(played.root / "data" / "shop_clickstream.csv.gz")
    actions = list(rows(clickstream) if full else islice(rows(clickstream), 9_000))
    expected = scored(played)

    with fresh_stack("kills", SCORE_EVENTS_PARALLELISM="2") as settings, Watch(settings, ["predictions"]) as watch:
        bring_profiles(settings, clickstream)
        for job in ("score_events", "archive_topics"):
            submit(settings, job)
        size = len(actions) // (len(points) + 1)
        send(settings, actions[:size], None)
        wait_for(lambda: watch.look()["predictions"] == size)
        for i, point in enumerate(points, start=1):
            part = actions[i * size : len(actions) if i == len(points) else (i + 1) * size]
            killed = threading.Event()
            sender = threading.Thread(target=send, args=(settings, part, killed))
            sender.start()
            point(settings, rng.randrange(i * size, i * size + size // 2))
            was, ahead = kill_taskmanager(settings)
            # just after a checkpoint its transactions may be committed already, or be left for the next run to commit
            assert ahead > 0 or point is after_the_checkpoint, "the kill came when every action was answered: it proves nothing"
            killed.set()
            sender.join()
            wait_for(lambda sent=part[-1].number + 1: watch.look()["predictions"] == sent)  # type: ignore[misc]
            wait_for(lambda was=was: not any(psutil.pid_exists(pid) for pid in was))  # type: ignore[misc]

        got = scored(settings)
        assert len(records(settings, "predictions")) == len(got) == len(actions)
        assert len(records(settings, "user-actions-dlq")) == 0
        assert got == {number: expected[number] for number in range(len(actions))}
        assert restarts(settings, "score_events") >= len(points)
        for table in ("user_actions", "predictions"):
            wait_for(lambda table=table: table_holds(settings, table, len(actions)))  # type: ignore[misc]
            assert places_in_table(settings, table) == set(map(place_of, records(settings, table.replace("_", "-"))))


def after_the_store_was_written(settings: Settings, actions: int) -> None:
    """The store holds at least so many actions, and some whose answer is not committed yet."""
    wait_for(lambda: folded(settings) > actions, between=0.001)


def after_the_barrier(settings: Settings, actions: int) -> None:
    """A checkpoint is under way: its barrier was sent, nothing of it is committed."""
    after_the_store_was_written(settings, actions)
    wait_for(lambda: bool(begun(settings) - completed(settings)), between=0.001)


def after_the_checkpoint(settings: Settings, actions: int) -> None:
    """A checkpoint has just completed; its transactions are being committed."""
    after_the_store_was_written(settings, actions)
    before = completed(settings)
    wait_for(lambda: bool(completed(settings) - before), between=0.001)


def begun(settings: Settings) -> set[str]:
    """Checkpoints by their folders, which appear when their barriers are sent; Flink's own pages are seconds old."""
    return {str(folder) for folder in flink_rest.checkpoint_folder(settings, "score_events").glob("*/chk-*")}


def completed(settings: Settings) -> set[str]:
    return {str(file.parent) for file in flink_rest.checkpoint_folder(settings, "score_events").glob("*/chk-*/_metadata")}


def kill_taskmanager(settings: Settings) -> tuple[set[int], int]:
    """SIGKILL it; answers the pids of the Python workers that it leaves behind, which go on writing until they are ended, and how
    many actions the store was ahead of their committed answers."""
    pid = pid_of(settings, "taskmanager")
    workers = {child.pid for child in psutil.Process(pid).children(recursive=True)}
    os.kill(pid, signal.SIGKILL)
    assert workers
    return workers, folded(settings) - answered(settings)


def send(settings: Settings, part: list[Row], killed: threading.Event | None) -> None:
    """All at once without an event; else at a steady pace, which goes on until it is set and hurries then."""
    producer = Producer({**settings.kafka.client(), "enable.idempotence": True})
    due = time.monotonic()
    for i, row in enumerate(part):
        if killed is not None and not killed.is_set():
            due += 1 / (PER_SECOND if i < 2 * len(part) // 3 else TRICKLE)
            if (wait := due - time.monotonic()) > 0.01:
                producer.poll(0)
                killed.wait(wait)
        producer.produce(
            "user-actions",
            row.value,
            key=row.user_id.encode(),
            partition=partition_of(row.user_id, PARTITIONS),
            headers=[("row", str(row.number).encode())],
        )
    assert producer.flush(60) == 0


def folded(settings: Settings) -> int:
    """How many records the store has folded, by its own marks."""
    client: Any = redis.Redis(port=settings.redis.port)
    marks = [client.hget(f"streamhouse:user_activity:partition:{p}", "progress") for p in range(PARTITIONS)]
    client.close()
    return sum(int(mark) + 1 for mark in marks if mark is not None)


def answered(settings: Settings) -> int:
    return len(records(settings, "predictions"))


def scored(settings: Settings) -> dict[int, Answer]:
    """For each action of the clickstream, by its row number: what was scored, and the score as it stands in the bytes."""
    number, digest = {}, open_clickstream(ROOT / "data" / "shop_clickstream.csv.gz").digest.encode()
    for message in records(settings, "user-actions"):
        headers = dict(message.headers() or [])
        if headers and headers.get("clickstream", digest) == digest:
            number[message.partition(), message.offset()] = int(headers["row"] or -1)
    found: dict[int, Answer] = {}
    for message in records(settings, "predictions"):
        data = orjson.loads(message.value() or b"")["data"]
        if (place := (data["actionPartition"], data["actionOffset"])) in number:
            assert number[place] not in found, f"action {place} was answered twice"
            found[number[place]] = (data["actionId"], orjson.dumps([data[name] for name in ("score", "decision", "features", "flags")]))
    return found


def places_in_table(settings: Settings, table: str) -> set[Place]:
    from lakehouse.read import read

    held = read(settings, table, columns=["topic_partition", "topic_offset"]).to_pylist()
    places = {(row["topic_partition"], row["topic_offset"]) for row in held}
    assert len(places) == len(held), f"table {table} holds a record twice"
    return places
