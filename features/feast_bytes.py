"""Feast's own bytes in Redis (entity key serialization 3), without importing Feast: `import feast` costs seconds of CPU.

One hash per entity: the serialized entity key + project; per feature the murmur3 of `view:feature` -> a Value protobuf; per view
`_ts:view` -> a Timestamp protobuf. tests/integration/test_feast_conformance.py compares every byte with Feast itself.
"""

from __future__ import annotations

import struct
from functools import lru_cache

import mmh3

_STRING = 2  # feast.types ValueType.STRING
_SMALL = 4096


def entity_key(project: str, join_key: str, value: str) -> bytes:
    """The Redis key of an entity with one join key of type STRING."""
    return key_prefix(join_key) + key_value(value) + project.encode()


def key_prefix(join_key: str) -> bytes:
    """What the keys of all entities of this join key start with."""
    name = join_key.encode()
    return struct.pack("<III", 1, _STRING, len(name)) + name


def key_value(value: str) -> bytes:
    """The part of the key that names one entity."""
    text = value.encode()
    return text_head(len(text)) + text


def text_head(length: int) -> bytes:
    """What stands in a key before a text of so many bytes."""
    return struct.pack("<II", _STRING, length)


def field(view: str, feature: str) -> bytes:
    """The name of a feature's field in the hash."""
    return struct.pack("<I", mmh3.hash(f"{view}:{feature}", signed=False))


def timestamp_field(view: str) -> bytes:
    """The name of the field that holds the row's timestamp."""
    return f"_ts:{view}".encode()


def varint(number: int) -> bytes:
    """A protobuf varint; negative numbers as 64 bit two's complement."""
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_length = lru_cache(maxsize=4096)(varint)
_SMALL_INT64 = [b"\x20" + varint(i) for i in range(_SMALL)]


def int64_value(number: int) -> bytes:
    """Value.int64_val."""
    return _SMALL_INT64[number] if 0 <= number < _SMALL else b"\x20" + varint(number)


def double_value(number: float) -> bytes:
    """Value.double_val; NaN is Feast's null, an empty Value."""
    return b"\x29" + struct.pack("<d", number) if number == number else b""


def read_number(value: bytes | None) -> float | None:
    """The number of a Value.int64_val or double_val; None for null and for what is no number of these."""
    if not value or value[0] not in (0x20, 0x29):
        return None
    if value[0] == 0x29:
        return float(struct.unpack("<d", value[1:])[0])
    number, _ = _read_varint(value, 1)
    return number - (1 << 64) if number >> 63 else number


def bytes_value(data: bytes) -> bytes:
    """Value.bytes_val."""
    return b"\x0a" + varint(len(data)) + data


def read_bytes(value: bytes | None) -> bytes | None:
    """The data of a Value.bytes_val; None for null and for what is not as long as it says."""
    if not value:
        return None
    position = 1
    while value[position : position + 1] >= b"\x80":
        position += 1
    data = value[position + 1 :]
    return data if value[1 : position + 1] == _length(len(data)) else None


@lru_cache(maxsize=4096)
def read_string(value: bytes | None) -> str | None:
    """The text of a Value.string_val."""
    data = read_bytes(value)
    return None if data is None else data.decode()


def timestamp(milliseconds: int) -> bytes:
    """A Timestamp protobuf."""
    seconds, rest = divmod(milliseconds, 1000)
    return (b"\x08" + varint(seconds) if seconds else b"") + (b"\x10" + varint(rest * 1_000_000) if rest else b"")


def read_timestamp(data: bytes | None) -> int | None:
    """Milliseconds of a Timestamp protobuf."""
    if data is None:
        return None
    # whole seconds of the years 1978 to 3058, as nearly all that is read often
    if len(data) == 6 and data[0] == 0x08 and data[1] & data[2] & data[3] & data[4] & 0x80:
        return 1000 * (data[1] & 0x7F | (data[2] & 0x7F) << 7 | (data[3] & 0x7F) << 14 | (data[4] & 0x7F) << 21 | data[5] << 28)
    seconds = nanos = position = 0
    while position < len(data):
        tag = data[position]
        number, position = _read_varint(data, position + 1)
        if tag == 0x08:
            seconds = number
        else:
            nanos = number
    return seconds * 1000 + nanos // 1_000_000


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte, position = data[position], position + 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, position
