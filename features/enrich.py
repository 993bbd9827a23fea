"""Enrich: a batch of decoded actions -> their features, the profiles, and the store brought forward.

It owns the protocol around the fold: leases, catching up from the log after Redis lost data or fell behind, answering again what a
restart reads again, merging what is committed, waiting for Redis for a bounded time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import redis
from numpy.typing import NDArray

from features.fold import Actions, FeatureRows, RewoundError, compact, fold
from features.history import Histories, OtherLayoutError
from features.online import Mark, Profiles, StoreEmpty, StoreFull
from infra.errors import StreamhouseError

_TAIL_LIMIT = 20_000  # uncommitted actions of one user; past it each batch is slowed down so that checkpoints get through
_TAIL_PAUSE = 0.2  # seconds
_REBUILDS_AT_ONCE = 5
_MERGE_FROM = 16  # entries that can be merged before a history is worth the work


@dataclass(frozen=True)
class Batch:
    """n accepted actions in log order per partition. Times in ms of event time; `session` (n,) uint64 hashes."""

    users: list[str]
    partition: NDArray[np.int64]
    offset: NDArray[np.int64]
    time: NDArray[np.int64]
    kind: NDArray[np.int64]
    session: NDArray[np.uint64]


@dataclass(frozen=True)
class Enriched:
    """What is known of a batch's n actions: `rows` (n,), and `profiles` of U users through `user` (n,) indices."""

    rows: FeatureRows
    user: NDArray[np.int64]
    profiles: Profiles


class Log(Protocol):
    """The accepted actions of one partition with `first <= offset < end`, in order, from the archive or the topic."""

    def __call__(self, partition: int, first: int, end: int) -> Iterator[Batch]: ...


class Store(Protocol):
    """What the enrich step asks of a store; features.online has it over Redis, features.memory_store in a process."""

    token: int

    def open(self) -> None: ...
    def acquire(self, partition: int) -> Mark: ...
    def read(self, users: Sequence[str], partitions: NDArray[np.int64]) -> tuple[Histories, Profiles]: ...
    def write(self, users: Sequence[str], histories: Histories, rows: NDArray[np.int64], marks: Mapping[int, Mark]) -> None: ...
    def forget(self, partition: int) -> int: ...


class RedisAway(StreamhouseError):
    """Redis did not answer within the bounded wait; the job restarts and asks again."""


@lru_cache(maxsize=1 << 16)
def session_hash(session: str) -> int:
    """64 bits of a session id, the same in every process."""
    return int.from_bytes(hashlib.blake2b(session.encode(), digest_size=8).digest(), "little")


class Enricher:
    """One worker's enrich step.

    After a restart from any checkpoint at or after the group's committed offsets it answers each action with the features that it
    was given the first time. `committed(partition)` tells the consumer group's committed offset (0: none yet);
    `restore_profiles` is asked whenever a partition of the store is found empty, since what other streams filled is lost with it.
    """

    def __init__(
        self,
        store: Store,
        log: Log,
        committed: Callable[[int], int],
        sleep: Callable[[float], None],
        wait_seconds: float,
        restore_profiles: Callable[[], None] = lambda: None,
    ) -> None:
        self._store, self._log, self._committed, self._sleep, self._wait = store, log, committed, sleep, wait_seconds
        self._restore_profiles = restore_profiles
        self._marks: dict[int, Mark] = {}
        self._doubted: dict[int, int] = {}  # partition -> the offset up to which this worker had brought it
        self._spoilt: set[int] = set()  # partitions whose rows cannot be gone on with

    def __call__(self, batch: Batch, first_offsets: dict[int, int], last_offsets: dict[int, int]) -> Enriched:
        """Enrich a batch whose records, rejected ones included, span `first_offsets` to `last_offsets` of their partitions.

        Raises:
            LeaseLost: another run took over.
            RedisAway: no answer within `wait_seconds`.
            StoreFull: it took no row within `wait_seconds`.

        """
        waited, pause, rebuilt = 0.0, 0.1, 0
        while True:
            try:
                return self._once(batch, first_offsets, last_offsets)
            except (StoreEmpty, RewoundError, OtherLayoutError):
                self._doubt()  # rebuilt from the log on the next round
                rebuilt += 1
                if rebuilt > _REBUILDS_AT_ONCE:  # somebody damages it again and again
                    self._sleep(2.0)
                continue
            except StoreFull:
                if waited >= self._wait:
                    raise
            except (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError) as error:
                if waited >= self._wait:
                    message = f"redis did not answer for {waited:.0f} s ({error}); scoring waits for it: see `./streamhouse status`"
                    raise RedisAway(message) from error
            self._doubt()  # it may come back with less than it had, and a partition may be half brought back
            self._sleep(pause)
            waited, pause = waited + pause, min(2 * pause, 2.0)

    def begin(self) -> None:
        """Take this run's place behind all that began before it: its first batch does, too, but may come late.

        Raises:
            redis.RedisError: Redis is away.

        """
        if self._store.token == 0:
            self._store.open()

    def start_over(self, partition: int) -> None:
        """Forget a partition of the store: the next batch begins its histories anew. For rebuilds, never for the stream.

        Raises:
            LeaseLost: a later run owns it.

        """
        self.begin()
        self._store.acquire(partition)
        self._store.forget(partition)
        self._marks[partition] = Mark(-1, 0)

    def _once(self, batch: Batch, first_offsets: dict[int, int], last_offsets: dict[int, int]) -> Enriched:
        self.begin()
        for partition, first in {**self._doubted, **first_offsets}.items():
            if partition not in self._marks:
                self._resume(partition, first)
        self._doubted.clear()
        return self._apply(batch, last_offsets)

    def _doubt(self) -> None:
        """Look at every partition again before the next batch, also at those that it does not touch: other readers miss their rows too.

        One that was only on its way back still has to come as far as it was, or what lies between is folded by nobody.
        """
        for partition, mark in self._marks.items():
            self._doubted[partition] = max(self._doubted.get(partition, 0), mark.progress + 1)
        self._marks.clear()

    def _resume(self, partition: int, first: int) -> None:
        """Bring a partition to just before `first`, the offset at which the job goes on."""
        mark = self._store.acquire(partition)
        if mark.progress < 0:
            self._restore_profiles()
        if first < mark.compacted or partition in self._spoilt:
            # the job went back further than the histories can answer: fold the log again from its start
            self._store.forget(partition)
            self._spoilt.discard(partition)
            mark = Mark(-1, 0)
        self._marks[partition] = mark
        if mark.progress + 1 < first:
            for missed in self._log(partition, mark.progress + 1, first):
                self._apply(missed, {partition: int(missed.offset[-1])})
            self._marks[partition] = Mark(first - 1, self._marks[partition].compacted)

    def _apply(self, batch: Batch, last_offsets: dict[int, int]) -> Enriched:
        index: dict[str, int] = {}
        user = np.array([index.setdefault(name, len(index)) for name in batch.users], np.int64)
        names = list(index)
        partitions = np.zeros(len(names), np.int64)
        partitions[user] = batch.partition
        try:
            histories, profiles = self._store.read(names, partitions)
            actions = Actions(user, batch.offset, batch.time, batch.kind, batch.session)
            rows, grown = fold(histories, actions)
        except (RewoundError, OtherLayoutError):
            self._spoilt.update(last_offsets)
            raise
        marks = {p: Mark(max(self._marks[p].progress, last), self._marks[p].compacted) for p, last in last_offsets.items()}
        grown, marks = self._merge(grown, marks)
        changed = np.flatnonzero(grown.headers["last_offset"] != histories.headers["last_offset"])
        self._store.write(names, grown, changed, marks)
        self._marks.update(marks)
        if len(changed) and np.bincount(grown.owner[grown.entries["offset"] >= 0], minlength=1).max() > _TAIL_LIMIT:
            self._sleep(_TAIL_PAUSE)
        return Enriched(rows, user, profiles)

    def _merge(self, histories: Histories, marks: dict[int, Mark]) -> tuple[Histories, dict[int, Mark]]:
        """Merge long histories up to the committed offsets, and remember how far."""
        committed = {p: min(self._committed(p), mark.progress + 1) for p, mark in marks.items()}
        below = np.array([committed.get(p, 0) for p in histories.headers["partition"].tolist()], np.int64)
        entries = histories.entries
        due = np.bincount(
            histories.owner[(entries["offset"] >= 0) & (entries["offset"] < below[histories.owner])],
            minlength=len(below),
        )
        below[due < _MERGE_FROM] = 0
        if not below.any():
            return histories, marks
        return compact(histories, below), {p: Mark(m.progress, max(m.compacted, committed[p])) for p, m in marks.items()}
