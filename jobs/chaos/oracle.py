"""What an unbroken run answers: the log folded from its start in one process, and each prediction as it must stand, byte for byte."""

from __future__ import annotations

import hashlib
import time
from array import array
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from features.enrich import Batch, Enricher
from features.history import Histories
from features.memory_store import MemoryStore
from features.online import Profiles
from features.online_keys import PROFILE_FEATURES
from infra.config import Settings
from infra.contracts.load import load_contracts
from jobs.chaos.reader import ACTIONS
from jobs.contract_history import in_effect
from jobs.schema_history import decisions
from jobs.scoring_parts import Topic, model, rules
from jobs.scoring_path import answer
from lakehouse.read import read

_EVERYTHING = 2**62  # no action is asked for twice here, so all histories may be merged
_END = 2**62
_REFUSED = 0


class Expected:
    """`predictions[p][o]`: a hash of the value that answers the action at partition p, offset o; 0: a dead letter does.

    `places[p][o]`: 1 where the topic holds a committed record.
    """

    def __init__(self, partitions: int) -> None:
        self.predictions = [array("Q") for _ in range(partitions)]
        self.places = [array("B") for _ in range(partitions)]

    def add(self, partition: int, offset: int, prediction: bytes | None) -> None:
        """An action and its prediction; None: it must be refused."""
        expected, places = self.predictions[partition], self.places[partition]
        if len(places) <= offset:
            places.extend([0] * (offset + 1 - len(places)))
            expected.extend([_REFUSED] * (offset + 1 - len(expected)))
        places[offset], expected[offset] = 1, _REFUSED if prediction is None else hashed(prediction)


def unbroken(settings: Settings) -> Expected:
    """Answer the whole topic from its start, in this process and with an empty store."""
    topic = load_contracts().topics[ACTIONS]
    expected, source_rules, scorer = Expected(topic.partitions), rules(in_effect(settings), decisions(settings)), model(settings)
    enrich = Enricher(_Profiled(settings), _no_log, lambda _: _EVERYTHING, time.sleep, wait_seconds=0)
    source = Topic(settings, ACTIONS)
    for partition in range(topic.partitions):
        enrich.start_over(partition)
        for records in source.records(partition, 0, _END):
            answers = answer(records, source_rules, enrich, scorer, now_ms=0)
            for offset, is_prediction, value in zip(records.offset.tolist(), answers.is_prediction, answers.values, strict=True):
                expected.add(partition, offset, value if is_prediction else None)
    return expected


def hashed(value: bytes) -> int:
    """64 bits of a prediction, never 0."""
    return int.from_bytes(hashlib.blake2b(value, digest_size=8).digest(), "little") or 1


class _Profiled(MemoryStore):
    """With the profiles of the table user_profiles, as the online store has them from its start."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._known: dict[str, tuple[int, dict[str, str | None]]] = {}
        for row in read(settings, "user_profiles", columns=["user_id", "known_from", *PROFILE_FEATURES]).to_pylist():
            known_ms = int(row["known_from"].timestamp() * 1000)
            self._known[row["user_id"]] = known_ms, {name: row[name] for name in PROFILE_FEATURES}

    def read(self, users: Sequence[str], partitions: NDArray[np.int64]) -> tuple[Histories, Profiles]:
        histories, nothing = super().read(users, partitions)
        known, columns = nothing.known.copy(), {name: list(values) for name, values in nothing.columns.items()}
        for i, user in enumerate(users):
            if user in self._known:
                known[i], values = self._known[user]
                for name in PROFILE_FEATURES:
                    columns[name][i] = values[name]
        return histories, Profiles(known, columns)


def _no_log(partition: int, first: int, end: int) -> Iterator[Batch]:
    yield from ()  # the topic is read from its start, so there is nothing to catch up with
