"""The header by which a record of user-actions says that it is sent again: which record it replaces, and the how-manieth replay it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec
import orjson
from msgspec import Meta

HEADER = "streamhouse-replay"
_BYTES = 256  # a header past it is none of ours


@dataclass(frozen=True)
class Replay:
    """The place of the original, the first record, and the number of this replay from 1."""

    partition: int
    offset: int
    retry_count: int


class _Header(msgspec.Struct, rename="camel"):
    partition: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    offset: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    retry_count: Annotated[int, Meta(ge=1, le=2**31 - 1)]


_decoder = msgspec.json.Decoder(_Header)


def encode_replay(replay: Replay) -> bytes:
    """The header's value."""
    return orjson.dumps({"partition": replay.partition, "offset": replay.offset, "retryCount": replay.retry_count})


def decode_replay(header: bytes | None, partition: int, offset: int, partitions: int) -> Replay | None:
    """The replay that the record at `partition` and `offset` says it is; None: it says none, or what cannot be.

    Any producer can send the header, so it is a claim: a partition that the topic does not have, or an original that does not lie
    before the record in the same partition, is no replay. Never raises.
    """
    if header is None or len(header) > _BYTES:
        return None
    try:
        read = _decoder.decode(header)
    except (msgspec.MsgspecError, ValueError):
        return None
    if read.partition >= partitions or (read.partition == partition and read.offset >= offset):
        return None
    return Replay(read.partition, read.offset, read.retry_count)
