"""A record that cannot be handled -> its dead letter, whole. Pure."""

from __future__ import annotations

import base64
import hashlib
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from infra.contracts.codec import DEPTH, nests_deeper, rfc3339
from infra.contracts.contract import LETTER_KEY_BYTES
from infra.contracts.events import Rejected
from infra.contracts.replays import Replay, decode_replay
from jobs.records import Records, Rules

SOURCE = "streamhouse/score-events"
_FRAMING = 1024  # bytes that Kafka adds to a record: its batch, lengths, what compression adds to what it cannot compress
_JSON_WHITESPACE = b" \t\n\r"


@dataclass(frozen=True)
class Source:
    """A refused record and where it lies. `retries`: how often it was tried again, or sent again as `replay` says."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    retries: int = 0
    replay: Replay | None = None


def dead_letter(records: Records, position: int, rules: Rules, why: Rejected, now_ms: int) -> tuple[bytes | None, bytes]:
    """Key and value of one record's dead letter, as `letter_of` says."""
    partition, offset = int(records.partition[position]), int(records.offset[position])
    header = None if records.replays is None else records.replays[position]
    replay = decode_replay(header, partition, offset, rules.partitions)
    retries = 0 if replay is None else replay.retry_count
    source = Source(rules.topic, partition, offset, records.keys[position], records.values[position], retries, replay)
    return letter_of(source, why, now_ms, rules.dead_letter_bytes, SOURCE)


def letter_of(source: Source, why: Rejected, now_ms: int, most_bytes: int, emitter: str, **more: object) -> tuple[bytes | None, bytes]:
    """Key and value of a record's dead letter, together no larger than `most_bytes`, which its topic takes.

    Its JSON stands there verbatim where it is a JSON object, else its bytes in base64. What compression brought past the source
    topic's own limit is named by size, hash and place: the source topic and its archive keep it, so nothing is lost.
    `emitter`: the event's source; `more`: further fields of its data.
    """
    value, key = source.value, source.key
    letter_key = key if key is None or len(key) <= LETTER_KEY_BYTES else None  # a longer one stands in the letter alone
    limit = most_bytes - _FRAMING - len(letter_key or b"")
    rest: dict[str, Any] = {
        "error": {"step": why.step, "reason": why.reason, "message": why.message},
        "failedAt": rfc3339(now_ms),
        "retryCount": source.retries,
        "sourceTopic": source.topic,
        "sourcePartition": source.partition,
        "sourceOffset": source.offset,
        **more,
    }
    if source.replay is not None:
        rest |= {"originalPartition": source.replay.partition, "originalOffset": source.replay.offset}
    identity = answer_id(source.topic, source.partition, source.offset)
    envelope: dict[str, Any] = {
        "eventType": "DeadLetter",
        "eventId": identity,
        "timestamp": rfc3339(now_ms),
        "version": 1,
        "source": emitter,
        "correlationId": identity,
    }
    if len(value or b"") + len(key or b"") <= limit:
        letter = orjson.dumps(envelope | {"data": _original(value, key) | rest})
        if len(letter) <= limit:
            return letter_key, letter
    return letter_key, orjson.dumps(envelope | {"data": _place(source) | rest})


def _original(value: bytes | None, key: bytes | None) -> dict[str, Any]:
    verbatim = value is not None and _is_json_object(value)
    return {
        "originalEvent": orjson.Fragment(value) if verbatim and value is not None else None,
        "originalBytes": None if verbatim or value is None else base64.b64encode(value).decode(),
        "originalKey": None if key is None else base64.b64encode(key).decode(),
    }


def _place(source: Source) -> dict[str, Any]:
    value = source.value
    return {
        "originalEvent": None,
        "originalBytes": None,
        "originalKey": None,
        "originalSize": None if value is None else len(value),
        "originalSha256": None if value is None else hashlib.sha256(value).hexdigest(),
        "originalPlace": f"partition {source.partition}, offset {source.offset} of topic {source.topic} and of its archive table",
    }


def answer_id(topic: str, partition: int, offset: int) -> str:
    """The id of the one answer to a record: a UUID of version 8 that spells topic (crc32), partition and offset."""
    low = f"{offset:016x}"
    return f"{zlib.crc32(topic.encode()):08x}-{partition & 0xFFFF:04x}-8{low[1:4]}-8{low[4:7]}-000{low[7:16]}"


def answer_ids(topic: str, partition: NDArray[np.int64], offset: NDArray[np.int64]) -> list[str]:
    """The same for (n,) records at once."""
    n = len(offset)
    digits = np.frombuffer(offset.astype(">u8").tobytes().hex().encode(), np.uint8).reshape(n, 16)
    low = np.frombuffer(partition.astype(">u2").tobytes().hex().encode(), np.uint8).reshape(n, 4)
    ids = np.empty((n, 36), np.uint8)
    ids[:] = np.frombuffer(answer_id(topic, 0, 0).encode(), np.uint8)
    ids[:, 9:13], ids[:, 15:18], ids[:, 20:23], ids[:, 27:36] = low, digits[:, 1:4], digits[:, 4:7], digits[:, 7:16]
    text = ids.tobytes().decode()
    return [text[i : i + 36] for i in range(0, 36 * n, 36)]


def _is_json_object(value: bytes) -> bool:
    """Whether strict JSON readers can still follow the value where it stands inside the dead letter."""
    if not value.lstrip(_JSON_WHITESPACE).startswith(b"{") or nests_deeper(value, DEPTH - 2):  # the letter and its data are two levels
        return False
    try:
        read = orjson.loads(b"[[" + value + b"]]")
    except orjson.JSONDecodeError:
        return False
    return len(read) == 1 and len(read[0]) == 1 and isinstance(read[0][0], dict)
