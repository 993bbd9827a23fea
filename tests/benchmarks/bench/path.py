"""The scoring path of a worker, called as the job calls it, on records that are made as they are needed. It counts CPU and nothing else."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import redis
from numpy.typing import NDArray

from features.enrich import Enricher
from features.online_keys import MATERIALIZED, row_key
from infra.clock import system_clock
from infra.config import load_settings
from infra.contracts.codec import rfc3339
from infra.contracts.partitioner import partition_of
from infra.errors import StreamhouseError
from jobs.records import Records
from jobs.scoring_parts import enricher, model, rules
from jobs.scoring_path import Model, answer
from tests.benchmarks.bench.made_models import trained

BATCH = 500
_BEGIN_MS = 1_717_200_000_000  # June 2024
_APART_MS = 20
_MADE = 20_000
"""So many users come by acting; what more a task wants are copies of their rows."""
_RESTORED = 5_000
_LETTERS = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", np.uint8)
_ACTIONS = ("home", "product_view", "product_view", "search", "add_to_cart", "error_page", "purchase")


@dataclass(frozen=True)
class Task:
    """`rounds` times `actions` actions, of distinct users among `users` that have acted once.

    Events of `size` bytes or what they take at least; a topic of `partitions`; a model of so many `trees`, which takes all features, 0: the
    published one that the settings name.
    """

    users: int
    actions: int
    rounds: int
    size: int = 0
    partitions: int = 4
    trees: int = 0


@dataclass(frozen=True)
class Cost:
    """CPU microseconds an action of this process, without Flink, of them those of the model, and of Redis."""

    python_us: float
    model_us: float
    redis_us: float


def topic(partitions: int) -> str:
    """The topic that is asked for its group's offsets: it has so many partitions and no record."""
    return f"growth-{partitions}"


class Path:
    """A worker without Flink, on a Redis that it may empty."""

    def __init__(self) -> None:
        self._settings = load_settings()
        self._redis: Any = redis.Redis(  # its types mix in the answers of its asyncio twin
            host=self._settings.redis.host, port=self._settings.redis.port
        )
        self._filled: tuple[int, int] | None = None
        self._left: list[int] = []
        self._model = cache(lambda trees: trained(trees) if trees else model(self._settings))

    def costs(self, task: Task) -> list[Cost]:
        """Of each round."""
        self._rules = replace(rules(), partitions=task.partitions)
        in_model = 0.0
        untimed = self._model(task.trees)

        def timed(x: NDArray[np.float32]) -> NDArray[np.float32]:
            nonlocal in_model
            began = time.process_time()
            scores = untimed.score(x)
            in_model += time.process_time() - began
            return scores

        scorer = replace(untimed, score=timed)
        found = []
        for _ in range(task.rounds):
            python = modelled = store = 0.0
            done = 0
            while done < task.actions:
                if self._filled != (task.users, task.partitions) or len(self._left) < BATCH:
                    self._fill(task, scorer)
                count = min(task.actions - done, len(self._left)) // BATCH * BATCH
                batches = [self._records([self._left.pop() for _ in range(BATCH)], task.size) for _ in range(count // BATCH)]
                in_model = 0.0
                before, began = self._redis_seconds(), time.process_time()
                for records in batches:
                    self._answer(records, scorer)
                python += time.process_time() - began
                store += self._redis_seconds() - before
                modelled += in_model
                done += count
            found.append(Cost(*(seconds / done * 1e6 for seconds in (python, modelled, store))))
        return found

    def _answer(self, records: Records, scorer: Model) -> None:
        answers = answer(records, self._rules, self._enrich, scorer, system_clock())
        if not all(answers.is_prediction):
            message = f"the scoring path refused an action: {answers.values[answers.is_prediction.index(False)][:500]!r}"
            raise StreamhouseError(message)

    def _fill(self, task: Task, scorer: Model) -> None:
        """An online store in which each user has acted once."""
        self._redis.flushall()
        self._redis.config_set("appendonly", "no")  # as it is not measured yet
        self._redis.set(MATERIALIZED, 1)  # there are no profiles: nobody need look for them
        self._next = np.zeros(task.partitions, np.int64)
        self._enrich: Enricher = enricher(self._settings, time.sleep, self._rules, topic=topic(task.partitions), group="growth")
        made = min(task.users, _MADE)
        for first in range(0, made, BATCH):
            self._answer(self._records(list(range(first, min(first + BATCH, made)))), scorer)
        self._copy_rows(range(made, task.users), task.partitions)
        self._redis.config_set("appendonly", "yes")
        while any(self._redis.info("persistence")[name] for name in ("aof_rewrite_in_progress", "aof_rewrite_scheduled")):
            time.sleep(0.1)
        self._filled = task.users, task.partitions
        self._left = np.random.default_rng(len(self._left)).permutation(task.users).tolist()

    def _copy_rows(self, users: range, partitions: int) -> None:
        """Give each the row of a user whose actions lie in the same partition."""
        rows: dict[int, bytes] = {}
        for number in range(_MADE):
            rows.setdefault(partition_of(_name(number), partitions), self._redis.dump(row_key(_name(number))) or b"")
            if len(rows) == partitions:
                break
        for first in range(users.start, users.stop, _RESTORED):
            pipe = self._redis.pipeline(transaction=False)
            for number in range(first, min(first + _RESTORED, users.stop)):
                pipe.restore(row_key(_name(number)), 0, rows[partition_of(_name(number), partitions)])
            pipe.execute()

    def _records(self, users: Sequence[int], size: int = 0) -> Records:
        """The next actions of these users as a batch of the topic."""
        # not from the cache that the path keeps, or it would find there who it has not seen for long
        partition = np.array([partition_of.__wrapped__(_name(user), len(self._next)) for user in users], np.int64)
        offset = np.empty(len(users), np.int64)
        for p in range(len(self._next)):
            there = np.flatnonzero(partition == p)
            offset[there] = self._next[p] + np.arange(len(there))
            self._next[p] += len(there)
        begin = _BEGIN_MS + int(offset.max()) * _APART_MS
        values = [_event(user, begin + i, size) for i, user in enumerate(users)]
        keys: list[bytes | None] = [_name(user).encode() for user in users]
        return Records(keys, [*values], partition, offset, np.full(len(users), system_clock()))

    def _redis_seconds(self) -> float:
        told = self._redis.info("cpu")
        return float(told["used_cpu_user"]) + float(told["used_cpu_sys"])


def _name(user: int) -> str:
    return f"user_{user:07d}"


def _event(user: int, time_ms: int, size: int) -> bytes:
    """An event that is as small as the contract lets it be, and a text beside it, which nobody reads, until it is as large as wanted."""
    event = (
        b'{"eventType":"UserAction","eventId":"%b","timestamp":"%b","version":1,"source":"shop","correlationId":"c",'
        b'"data":{"userId":"%b","sessionId":"s%09d","action":"%b"}}'
        % (
            str(uuid.uuid4()).encode(),
            rfc3339(time_ms).encode(),
            _name(user).encode(),
            time_ms % 10**9,  # a visit of its own, as nearly every action of a user who was away
            _ACTIONS[(user * 7 + time_ms) % len(_ACTIONS)].encode(),
        )
    )
    around = b',"attachment":""}'
    if size < len(event) + len(around):
        return event
    text = np.random.default_rng(user).choice(_LETTERS, size - len(event) - len(around) + 1).tobytes()
    return event[:-1] + b',"attachment":"' + text + b'"}'
