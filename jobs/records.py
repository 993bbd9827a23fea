"""Records of the source topic as the scoring path takes them, and what its contract demands of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.contracts.decisions import NOTHING, Schemas
from infra.contracts.in_effect import Contract


@dataclass(frozen=True)
class Rules:
    """What the contract of the source topic demands beside its schema; `contract`: by which each record is decoded, and
    which event times are believed of it; `dead_letter_bytes`: what the dead-letter topic takes; `schemas`: by what
    framed records are decoded.
    """

    topic: str
    partitions: int
    contract: Contract
    dead_letter_bytes: int
    schemas: Schemas = NOTHING


@dataclass(frozen=True)
class Records:
    """n records as they lie in the topic, ascending per partition; `kafka_ms` (n,) is the broker's time.

    `replays`: the headers of records that were sent again, as any producer can send them; only their dead letters need them.
    """

    keys: list[bytes | None]
    values: list[bytes | None]
    partition: NDArray[np.int64]
    offset: NDArray[np.int64]
    kafka_ms: NDArray[np.int64]
    replays: list[bytes | None] | None = None


def offset_ranges(records: Records) -> tuple[dict[int, int], dict[int, int]]:
    """First and last offset of each partition in the batch."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for partition in np.unique(records.partition).tolist():
        offsets = records.offset[records.partition == partition]
        first[partition], last[partition] = int(offsets[0]), int(offsets[-1])
    return first, last
