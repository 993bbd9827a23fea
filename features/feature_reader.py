"""Features of many users at once, as `FeatureStore.get_online_features` gives them, at a fiftieth of its price.

A row of `user_activity` that score_events wrote has its features in one piece beside Feast's own fields. The pieces of all users are put
behind each other, and one look at the bytes makes columns of them: nothing is decoded by the row or the value.
A row that somebody else wrote since, through Feast, is read field by field; so the answer is Feast's, unless somebody wrote other values
at the very time of our row, which Feast's own writer leaves alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import hiredis
import numpy as np
from numpy.typing import NDArray

from features import feast_bytes as fb
from features.activity import COUNTS, FEATURES
from features.history import NEVER
from features.online import NUMBERS, PACKED_FIELD
from features.online_keys import ACTIVITY, KEY_TAIL, key_head, row_key
from features.pipelined import Pipelined

_TIME_FIELD = fb.timestamp_field(ACTIVITY)
_FIELDS = [_TIME_FIELD, *(fb.field(ACTIVITY, name) for name in FEATURES)]
_STEP = 1024  # users in one round trip: their commands and rows fit into what a socket holds
_PIECE = 32  # users whose commands are made while Redis looks up those before
_TAIL = KEY_TAIL + b"\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(PACKED_FIELD), PACKED_FIELD, len(_TIME_FIELD), _TIME_FIELD)
_SIZE = NUMBERS.itemsize
_NOBODY = np.array([(NEVER, (0,) * len(COUNTS), (np.nan,) * (len(FEATURES) - len(COUNTS)))], NUMBERS).tobytes()


@dataclass(frozen=True)
class Features:
    """Of n users: `values` (n, len(FEATURES)) float64, NaN for null; `row_time` (n,) ms since 1970, NEVER: the user has no row."""

    values: NDArray[np.float64]
    row_time: NDArray[np.int64]


class FeatureReader:
    """One connection, for one thread. It takes no lease and writes nothing."""

    def __init__(self, host: str, port: int, timeout: float = 10.0) -> None:
        self._store = Pipelined(host, port, timeout)

    def read(self, users: Sequence[str]) -> Features:
        """Features as they stand in the store, in the order of `users`, each as often as it is named.

        A round trip for each thousand, and one more for each thousand that somebody else wrote.

        Raises:
            redis.RedisError: Redis is away, or holds what is no row.

        """
        parts, others = [], dict[int, bytes]()
        for start in range(0, len(users), _STEP):
            step = users[start : start + _STEP]
            pieces = []
            for i, (packed, time) in enumerate(self._store.ask(partial(_commands, step), len(step)), start):
                if packed is not None and packed[_SIZE:] == time:
                    pieces.append(packed[:_SIZE])
                else:
                    pieces.append(_NOBODY)
                    if time is not None:
                        others[i] = row_key(users[i])
            parts += pieces
        rows = np.frombuffer(b"".join(parts), NUMBERS)
        values = np.empty((len(rows), len(FEATURES)))
        values[:, : len(COUNTS)], values[:, len(COUNTS) :] = rows["counts"], rows["seconds"]
        row_time = rows["row_time"].astype(np.int64)
        values[row_time == NEVER] = np.nan
        self._by_fields(others, values, row_time)
        return Features(values, row_time)

    def close(self) -> None:
        """Close the connection."""
        self._store.close()

    def _by_fields(self, keys: Mapping[int, bytes], values: NDArray[np.float64], row_time: NDArray[np.int64]) -> None:
        places = list(keys)
        for start in range(0, len(places), _STEP):
            step = places[start : start + _STEP]
            commands: list[Any] = [("HMGET", keys[i], *_FIELDS) for i in step]  # hiredis' types know tuples of one
            replies = self._store.ask(partial(_packed, commands), len(commands))
            for i, (time, *fields) in zip(step, replies, strict=True):
                moment = fb.read_timestamp(time)
                row_time[i] = NEVER if moment is None else moment
                values[i] = [np.nan if number is None else number for number in map(fb.read_number, fields)]


def _packed(commands: list[Any]) -> Iterator[bytes]:
    yield b"".join(map(hiredis.pack_command, commands))


def _commands(users: Sequence[str]) -> Iterator[bytes]:
    """HMGET of each user's piece and timestamp."""
    for start in range(0, len(users), _PIECE):
        texts = [user.encode() for user in users[start : start + _PIECE]]
        yield b"".join([part for text in texts for part in (_head(len(text)), text, _TAIL)])


@lru_cache(maxsize=4096)
def _head(length: int) -> bytes:
    """What stands before a user id of so many bytes."""
    before = key_head(length)
    return b"*4\r\n$5\r\nHMGET\r\n$%d\r\n%b" % (len(before) + length + len(KEY_TAIL), before)
