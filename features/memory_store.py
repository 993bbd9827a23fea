"""A store with the online store's reads and writes, in memory and empty at first: for rebuilds and replays in one process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from features.history import Histories, pack, partition_of_history, unpack
from features.online import Mark, Profiles
from features.online_keys import PROFILE_FEATURES


class MemoryStore:
    """One process's histories; no lease, since nobody else sees them."""

    def __init__(self) -> None:
        self.histories: dict[str, bytes] = {}
        self.token = 0
        self._marks: dict[int, Mark] = {}

    def open(self) -> None:
        """Nothing to connect to."""
        self.token = 1

    def acquire(self, partition: int) -> Mark:
        """How far a partition has come."""
        return self._marks.get(partition, Mark(-1, 0))

    def read(self, users: Sequence[str], partitions: NDArray[np.int64]) -> tuple[Histories, Profiles]:
        """Histories of distinct `users`; no profiles."""
        none: list[str | None] = [None] * len(users)
        profiles = Profiles(np.full(len(users), -1, np.int64), {name: list(none) for name in PROFILE_FEATURES})
        return unpack([self.histories.get(user) for user in users], partitions), profiles

    def write(self, users: Sequence[str], histories: Histories, rows: NDArray[np.int64], marks: Mapping[int, Mark]) -> None:
        """Keep the given rows."""
        for row, blob in zip(rows.tolist(), pack(histories, rows), strict=True):
            self.histories[users[row]] = blob
        self._marks.update(marks)

    def forget(self, partition: int) -> int:
        """Drop every history of a partition; answers how many."""
        gone = [user for user, blob in self.histories.items() if partition_of_history(blob) == partition]
        for user in gone:
            del self.histories[user]
        self._marks.pop(partition, None)
        return len(gone)
