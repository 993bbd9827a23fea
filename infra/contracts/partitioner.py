"""Which partition a key belongs to: murmur2, as Java's default partitioner and librdkafka's `murmur2_random` compute it.

A user's actions must share a partition, because the log order of a partition is what features are folded in.
"""

from __future__ import annotations

from functools import lru_cache

_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """The 32 bit hash of Kafka's Java client, unsigned.

    >>> murmur2(b"21")
    3321034988
    """
    length = len(data)
    h = (0x9747B28C ^ length) & _MASK
    whole = length & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * _M & _MASK
        k = (k ^ (k >> 24)) * _M & _MASK
        h = (h * _M & _MASK) ^ k
    if tail := data[whole:]:
        h = (h ^ int.from_bytes(tail, "little")) * _M & _MASK
    h = (h ^ (h >> 13)) * _M & _MASK
    return h ^ (h >> 15)


@lru_cache(maxsize=1 << 18)
def partition_of(key: str | bytes, partitions: int) -> int:
    """The partition of a key, text or its bytes, among `partitions`."""
    return (murmur2(key.encode() if isinstance(key, str) else key) & 0x7FFFFFFF) % partitions
