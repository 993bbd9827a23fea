"""Features of many users at once, as `FeatureStore.get_online_features` gives them, at a hundredth of its price.

A row of `user_activity` that score_events wrote has its features in one piece beside Feast's own fields. One script in Redis puts the
pieces of all users behind each other, and one look at the bytes makes columns of them: nothing is done for a row or a value in Python.
A row that somebody else wrote since, through Feast, is read field by field; so the answer is Feast's in every case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import redis
from numpy.typing import NDArray

from features import feast_bytes as fb
from features.activity import COUNTS, FEATURES
from features.history import NEVER
from features.online import ACTIVITY, NUMBERS, PACKED_FIELD, row_key

_TIME_FIELD = fb.timestamp_field(ACTIVITY)
_FIELDS = [_TIME_FIELD, *(fb.field(ACTIVITY, name) for name in FEATURES)]

# KEYS: rows; ARGV: what stands for a user without a row. Answers all rows as one text, and where those are that somebody else wrote
_READ = f"""
local sub, found, others = string.sub, {{}}, {{}}
for i = 1, #KEYS do
  local row = redis.call('HMGET', KEYS[i], '{PACKED_FIELD.decode()}', '{_TIME_FIELD.decode()}')
  if row[1] and sub(row[1], {NUMBERS.itemsize + 1}) == row[2] then
    found[i] = sub(row[1], 1, {NUMBERS.itemsize})
  else
    found[i] = ARGV[1]
    if row[2] then others[#others + 1] = i - 1 end
  end
end
return {{table.concat(found), others}}
"""


@dataclass(frozen=True)
class Features:
    """Of n users: `values` (n, len(FEATURES)) float64, NaN for null; `row_time` (n,) ms since 1970, NEVER: the user has no row."""

    values: NDArray[np.float64]
    row_time: NDArray[np.int64]


class FeatureReader:
    """One connection, for one thread. It takes no lease and writes nothing."""

    def __init__(self, host: str, port: int, timeout: float = 10.0) -> None:
        # redis-py's types know text only, and mix in the answers of its asyncio twin
        self._redis: Any = redis.Redis(host=host, port=port, socket_timeout=timeout, socket_connect_timeout=timeout)
        self._read = self._redis.register_script(_READ)

    def read(self, users: Sequence[str]) -> Features:
        """Features as they stand in the store, in the order of `users`, each as often as it is named. One round trip.

        Raises:
            redis.RedisError: Redis is away, or holds what is no row.

        """
        keys = list(map(row_key, users))
        together, others = self._read(keys=keys, args=[_NOBODY]) if keys else (b"", [])
        rows = np.frombuffer(together, NUMBERS)
        values = np.empty((len(rows), len(FEATURES)))
        values[:, : len(COUNTS)], values[:, len(COUNTS) :] = rows["counts"], rows["seconds"]
        row_time = rows["row_time"].astype(np.int64)
        values[row_time == NEVER] = np.nan
        if others:
            self._by_fields([keys[i] for i in others], others, values, row_time)
        return Features(values, row_time)

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def _by_fields(self, keys: list[bytes], at: list[int], values: NDArray[np.float64], row_time: NDArray[np.int64]) -> None:
        pipe = self._redis.pipeline(transaction=False)
        for key in keys:
            pipe.hmget(key, _FIELDS)
        for i, (time, *fields) in zip(at, pipe.execute(), strict=True):
            moment = fb.read_timestamp(time)
            row_time[i] = NEVER if moment is None else moment
            values[i] = [np.nan if number is None else number for number in map(fb.read_number, fields)]


_NOBODY = np.array([(NEVER, (0,) * len(COUNTS), (np.nan,) * (len(FEATURES) - len(COUNTS)))], NUMBERS).tobytes()
