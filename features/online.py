"""The online store as the fold uses it: read the users of a batch in one round trip, write them back fenced.

Per (view, partition) one small hash says who may write and how far the view has come:
`lease` the token of the run that owns it, `progress` the last offset folded, `compacted` the offset below which histories
have been merged, `writes` how often the owner wrote, by which it notices a Redis that came back with less. Every row is written by one
Lua script that compares lease, writes, partition and offset first, so a paused worker that wakes up late, or an orphan, cannot overwrite
a newer history. The hash also tells an empty store from one without users.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import redis
from numpy.typing import NDArray

from features import feast_bytes as fb
from features.activity import COUNTS, FEATURES, SECONDS
from features.fold import current
from features.foreign_rows import clear_foreign
from features.history import Histories, OtherLayoutError, is_whole, pack, unpack
from features.online_keys import ACTIVITY, PROFILE, PROFILE_FEATURES, any_row, mark_key, row_key
from infra.errors import StreamhouseError

_HISTORY = fb.field(ACTIVITY, "history")
_ACTIVITY_TIME = fb.timestamp_field(ACTIVITY)
_COUNT_FIELDS = [fb.field(ACTIVITY, name) for name in COUNTS]
_SECONDS_FIELDS = [fb.field(ACTIVITY, name) for name in SECONDS]
NUMBERS = np.dtype([("row_time", "<i8"), ("counts", "<u4", len(COUNTS)), ("seconds", "<f8", len(SECONDS))])
"""A row's readable features in one piece: time in ms, NaN for null, counts up to 2**32 - 1."""
PACKED_FIELD = b"_packed:%b:%08x" % (ACTIVITY.encode(), zlib.crc32(repr((FEATURES, NUMBERS)).encode()))
"""Holds NUMBERS of these features in this order alone, and behind it the bytes of the row's timestamp; where they are not those of the
row, somebody else wrote the row since.
"""
_LOG_FIELD = b"_log:" + ACTIVITY.encode()  # partition:offset of the last applied action, compared by the script
_READ_FIELDS = [_HISTORY, _LOG_FIELD, fb.timestamp_field(PROFILE), *(fb.field(PROFILE, name) for name in PROFILE_FEATURES)]
_WRITTEN_FIELDS = [_HISTORY, _ACTIVITY_TIME, *_COUNT_FIELDS, *_SECONDS_FIELDS]
_ROW_FIELDS = [_LOG_FIELD, PACKED_FIELD, *_WRITTEN_FIELDS]
_ROWS_PER_WRITE = 250  # keeps Redis from standing still for long inside one script

_ACQUIRE = """
local held = redis.call('HGET', KEYS[1], 'lease')
if held and tonumber(held) > tonumber(ARGV[1]) then return redis.error_reply('LEASE held by '..held) end
redis.call('HSET', KEYS[1], 'lease', ARGV[1])
return redis.call('HMGET', KEYS[1], 'progress', 'compacted', 'writes')
"""

# KEYS: marks, then rows; ARGV: how many marks, then the fields of a row. One reply for all: a client reads it at once
_READ = """
local marks, found = tonumber(ARGV[1]), {}
for i = 1, marks do found[i] = redis.call('HMGET', KEYS[i], 'lease', 'writes') end
for i = marks + 1, #KEYS do found[i] = redis.call('HMGET', KEYS[i], unpack(ARGV, 2)) end
return found
"""

# ARGV: token, partition, writes so far as this run knows, progress (with the last rows only), compacted (before any merged row), a row's
# field names in their order, then per row: key, offset, history and timestamp as Feast has them, and its numbers in one piece, as NUMBERS
# says: kept so too, for readers of ours, with the timestamp that they go with. Feast's bytes of the numbers are made here, so that a row
# is five texts on its way and not fifty
_WRITE = """
local held = redis.call('HGET', KEYS[1], 'lease')
if not held then return redis.error_reply('EMPTY') end
if held ~= ARGV[1] then return redis.error_reply('LEASE held by '..held) end
if (redis.call('HGET', KEYS[1], 'writes') or '0') ~= ARGV[3] then return redis.error_reply('REWOUND') end
redis.call('HSET', KEYS[1], 'compacted', ARGV[5])
local char, sub, floor, numbers = string.char, string.sub, math.floor, struct.unpack
local int64 = {}  -- of each count that was met, its Value.int64_val
local function made(count)
  local bytes, rest = char(0x20), count
  while rest > 127 do
    bytes, rest = bytes..char(rest % 128 + 128), floor(rest / 128)
  end
  bytes = bytes..char(rest)
  int64[count] = bytes
  return bytes
end
local row = {'HSET', '', '_log:user_activity', '', 'PACKED', ''}
for i = 1, FIELDS do row[5 + 2 * i] = ARGV[5 + i] end
for i = 6 + FIELDS, #ARGV, 5 do
  local key, offset, packed = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 4]
  local log = redis.call('HGET', key, '_log:user_activity')
  if log then
    local colon = string.find(log, ':')
    if sub(log, 1, colon - 1) ~= ARGV[2] then return redis.error_reply('PARTITION row is at '..log) end
    if tonumber(sub(log, colon + 1)) > offset then return redis.error_reply('OLDER row is at '..log) end
  end
  row[2], row[4], row[6] = key, ARGV[2]..':'..ARGV[i + 1], packed..ARGV[i + 3]
  row[8], row[10] = ARGV[i + 2], ARGV[i + 3]
  local counts = {numbers('COUNTS', packed, 9)}
  for j = 1, COUNTED do
    local count = counts[j]
    row[10 + 2 * j] = int64[count] or made(count)
  end
  for j = 1, SECONDS do
    local double = sub(packed, 4 * COUNTED + 8 * j + 1, 4 * COUNTED + 8 * j + 8)
    local number = numbers('<d', double)
    row[10 + 2 * COUNTED + 2 * j] = number == number and char(0x29)..double or ''
  end
  redis.call(unpack(row))
end
if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], 'progress', ARGV[4]) end
redis.call('HINCRBY', KEYS[1], 'writes', 1)
return 'OK'
"""

# ARGV: token, partition, writes so far as this run knows, of how many rows it is sure whatever they say themselves, fields; KEYS: the
# mark, then rows, first those. The mark's progress goes first, so that what is cut off here is begun anew
_FORGET = """
local held = redis.call('HGET', KEYS[1], 'lease')
if not held then return redis.error_reply('EMPTY') end
if held ~= ARGV[1] then return redis.error_reply('LEASE held by '..held) end
if (redis.call('HGET', KEYS[1], 'writes') or '0') ~= ARGV[3] then return redis.error_reply('REWOUND') end
redis.call('HDEL', KEYS[1], 'progress', 'compacted')
local gone, sure, ours = 0, tonumber(ARGV[4]), ARGV[2]..':'
for i = 2, #KEYS do
  if redis.call('TYPE', KEYS[i]).ok == 'hash' then
    local log = redis.call('HGET', KEYS[i], '_log:user_activity')
    if i - 1 <= sure or (log and string.sub(log, 1, #ours) == ours) then
      redis.call('HDEL', KEYS[i], unpack(ARGV, 5))
      gone = gone + 1
    end
  end
end
redis.call('HINCRBY', KEYS[1], 'writes', 1)
return gone
"""


class StoreEmpty(StreamhouseError):
    """The store came back without its data, or with less of it; nothing may be scored before the rest is folded again."""


class StoreFull(StreamhouseError):
    """The store takes no more rows; nothing may be scored before it does."""


class LeaseLost(StreamhouseError):
    """Another run owns the view's partition; this one must stop writing."""


@dataclass(frozen=True)
class Mark:
    """How far a partition of the view has come: last offset folded (-1: nothing), and the offset below which histories are merged."""

    progress: int
    compacted: int


@dataclass(frozen=True)
class Profiles:
    """Rows of `user_profile` for U users: `known` (U,) ms since 1970 from which the row was known, -1: no row; text columns (U,)."""

    known: NDArray[np.int64]
    columns: Mapping[str, list[str | None]]


class OnlineStore:
    """One worker's connection. `token` orders the runs: the larger one wins a lease."""

    def __init__(self, host: str, port: int, timeout: float = 10.0) -> None:
        # redis-py's types know text only, and mix in the answers of its asyncio twin
        self._redis: Any = redis.Redis(host=host, port=port, socket_timeout=timeout, socket_connect_timeout=timeout)
        self._acquire = self._redis.register_script(_ACQUIRE)
        self._read = self._redis.register_script(_READ)
        self._write = self._redis.register_script(_written())
        self._forget = self._redis.register_script(_FORGET)
        self._writes: dict[int, int] = {}  # partition -> how many there were, as this run last saw or made it
        self._damaged: dict[int, set[bytes]] = {}  # partition -> rows of its users that do not tell by themselves whose they are
        self.token = 0

    def open(self) -> None:
        """Draw a token from the store's own clock; an older run's is always smaller.

        Raises:
            redis.ConnectionError: Redis is away.

        """
        seconds, micros = self._redis.time()
        self.token = seconds * 1_000_000 + micros

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def acquire(self, partition: int) -> Mark:
        """Take the lease of a partition and tell how far it has come.

        Raises:
            LeaseLost: a later run holds it.

        """
        progress, compacted, writes = self._script(self._acquire, partition, [self.token])
        self._writes[partition] = int(writes or 0)
        return Mark(int(progress) if progress is not None else -1, int(compacted) if compacted is not None else 0)

    def read(self, users: Sequence[str], partitions: NDArray[np.int64]) -> tuple[Histories, Profiles]:
        """Histories and profiles of distinct `users`; `partitions` (U,) where each one's actions lie. One round trip.

        Raises:
            StoreEmpty, LeaseLost: as of the moment of the read.
            OtherLayoutError: a history is none that this program wrote, or it is gone from a row that was folded.

        """
        owned = np.unique(partitions).tolist()
        keys: list[bytes] = [*(mark_key(partition).encode() for partition in owned), *map(row_key, users)]
        try:
            replies = self._read(keys=keys, args=[len(owned), *_READ_FIELDS])
        except redis.ResponseError as error:
            if "WRONGTYPE" in str(error):
                self._clear()
            raise
        for partition, (lease, writes) in zip(owned, replies, strict=False):
            self._check(partition, lease)
            # a client reconnects in silence, and Redis may have lost its last writes meanwhile
            if int(writes or 0) != self._writes.get(partition, 0):
                raise StoreEmpty(_rewound(partition))
        rows = replies[len(owned) :]
        blobs = [fb.read_bytes(row[0]) for row in rows]
        told = {partition: b"%d:" % partition for partition in owned}
        damaged = [
            i
            for i, (row, blob, partition) in enumerate(zip(rows, blobs, partitions.tolist(), strict=True))
            if _is_damaged(row, blob, told[partition])
        ]
        if damaged:
            for i in damaged:
                self._damaged.setdefault(int(partitions[i]), set()).add(keys[len(owned) + i])
            message = f"rows of {len(damaged)} users are damaged, as that of {users[damaged[0]]!r}"
            raise OtherLayoutError(message)
        histories = unpack(blobs, partitions)
        known = np.array([-1 if row[2] is None else fb.read_timestamp(row[2]) for row in rows], np.int64)
        columns = {name: [fb.read_string(row[3 + i]) for row in rows] for i, name in enumerate(PROFILE_FEATURES)}
        return histories, Profiles(known, columns)

    def write(self, users: Sequence[str], histories: Histories, rows: NDArray[np.int64], marks: Mapping[int, Mark]) -> None:
        """Write the given rows of `users` and then how far their partitions have come.

        A crash between leaves rows ahead of the marks, which the fold recognises by their offsets. Nothing is written by a run
        that lost its lease.
        """
        packed, headers = pack(histories, rows), histories.headers[rows]
        values, numbers = current(histories, rows).values, np.empty(len(rows), NUMBERS)
        numbers["row_time"], numbers["counts"], numbers["seconds"] = headers["row_time"], values[:, : len(COUNTS)], values[:, len(COUNTS) :]
        raw, size = numbers.tobytes(), NUMBERS.itemsize
        told = [
            (row_key(users[row]), offset, fb.bytes_value(history), fb.timestamp(row_time), raw[i * size : (i + 1) * size])
            for i, (row, offset, history, row_time) in enumerate(
                zip(rows.tolist(), headers["last_offset"].tolist(), packed, headers["row_time"].tolist(), strict=True)
            )
        ]
        by_partition: dict[int, list[int]] = {partition: [] for partition in marks}
        for i, partition in enumerate(headers["partition"].tolist()):
            by_partition[partition].append(i)
        for partition, members in by_partition.items():
            chunks = [members[i : i + _ROWS_PER_WRITE] for i in range(0, len(members), _ROWS_PER_WRITE)] or [[]]
            for chunk in chunks:
                done = chunk is chunks[-1]
                mark = marks[partition]
                writes = self._writes.get(partition, 0)
                arguments: list[object] = [self.token, partition, writes, mark.progress if done else "", mark.compacted, *_WRITTEN_FIELDS]
                for i in chunk:
                    arguments += told[i]
                self._script(self._write, partition, arguments)
                self._writes[partition] = writes + 1

    def forget(self, partition: int) -> int:
        """Delete a partition's progress and then its rows, under the lease; before a rebuild. Answers the number of rows.

        Cut off in the middle, the next run begins the histories anew and goes on forgetting where it must.

        Raises:
            LeaseLost: a later run owns the partition; what is left is its own.

        """
        gone = self._forget_of(partition, damaged := sorted(self._damaged.pop(partition, ())), len(damaged))
        keys = self._redis.scan_iter(match=any_row(), count=1000)
        while some := list(islice(keys, _ROWS_PER_WRITE)):
            gone += self._forget_of(partition, some)
        return gone

    def _forget_of(self, partition: int, rows: Sequence[bytes], sure: int = 0) -> int:
        writes = self._writes.get(partition, 0)
        gone = self._script(self._forget, partition, [self.token, partition, writes, sure, *_ROW_FIELDS], rows)
        self._writes[partition] = writes + 1
        return int(gone)

    def _clear(self) -> None:
        """Delete what another program wrote in place of rows, and begin the histories anew.

        Raises:
            StoreEmpty: always.

        """
        gone = clear_foreign(self._redis)
        self._writes.clear()
        message = f"another program wrote over {gone} rows or marks of the online store; the log is folded again"
        raise StoreEmpty(message)

    def _script(
        self,
        script: Any,  # noqa: ANN401 - as above
        partition: int,
        arguments: list[object],
        rows: Sequence[bytes] = (),
    ) -> Any:  # noqa: ANN401 - what the script answers
        try:
            reply = script(keys=[mark_key(partition), *rows], args=arguments)
        except redis.ResponseError as error:
            reason = str(error)
            if isinstance(error, redis.exceptions.OutOfMemoryError) or "OOM" in reason:  # as Redis 7 says it, and as 6 does
                message = "redis holds as much as redis.max_memory allows; set STREAMHOUSE_REDIS_MAX_MEMORY higher, then `down` and `up`"
                raise StoreFull(message) from error
            if reason.startswith("EMPTY"):
                self._check(partition, None)
            if "WRONGTYPE" in reason:
                self._clear()
            if reason.startswith("REWOUND"):
                raise StoreEmpty(_rewound(partition)) from error
            if reason.startswith("LEASE"):
                self._check(partition, reason.rsplit(" ", 1)[-1].encode())
            raise
        return reply

    def _check(self, partition: int, lease: bytes | None) -> None:
        if lease is None:
            message = (
                f"the online store has no lease for partition {partition} of `{ACTIVITY}`: it came back empty and must be rebuilt first"
            )
            raise StoreEmpty(message)
        if int(lease) < self.token:  # of a run before this one, which took it over: Redis lost that
            raise StoreEmpty(_rewound(partition))
        if int(lease) != self.token:
            message = f"partition {partition} of `{ACTIVITY}` belongs to another run ({lease.decode()}, this is {self.token})"
            message += "; only one run folds a view"
            raise LeaseLost(message)


def _is_damaged(row: Sequence[bytes | None], blob: bytes | None, told: bytes) -> bool:
    """Whether a row that was written holds no whole history, or does not begin with its partition as `told` says it."""
    said = row[1]
    is_sound = blob and said and said.startswith(told) and is_whole(blob)
    return not is_sound and bool(row[0] or said)


def _rewound(partition: int) -> str:
    return f"the online store came back with less of partition {partition} of `{ACTIVITY}` than this run wrote; the log is folded again"


def _written() -> str:
    sizes = {"FIELDS": len(_WRITTEN_FIELDS), "COUNTED": len(COUNTS), "SECONDS": len(SECONDS), "COUNTS": "<" + "I4" * len(COUNTS)}
    script = _WRITE.replace("PACKED", PACKED_FIELD.decode())
    for name, size in sizes.items():
        script = re.sub(rf"\b{name}\b", str(size), script)
    return script
