"""One user's history as it stands in the store: a header, and entries that are recent actions or merged buckets.

An entry with `offset >= 0` is one action that the scorer may have to answer again after a crash (the tail). Entries with
`offset == -1` are the base: actions below the consumer group's committed offset, merged per kind by the minute or the hour.
Both are counted by the same rule, so merging changes no feature.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEVER = np.iinfo(np.int64).min
"""A time that no action has."""

HEADER = np.dtype(
    [
        ("layout", "<u4"),
        ("partition", "<i4"),
        ("base_offset", "<i8"),  # last offset merged into the base, -1: none
        ("base_clock", "<i8"),  # latest event time in the base, ms
        ("base_purchase", "<i8"),  # latest purchase in the base, ms
        ("last_offset", "<i8"),  # last offset of all, -1: none
        ("last_time", "<i8"),  # event time of that action, ms
        ("last_session", "<u8"),  # hash of its session id
        ("row_time", "<i8"),  # timestamp of the Feast row, ms: rises with each applied action
    ]
)
ENTRY = np.dtype(
    [("offset", "<i8"), ("time", "<i8"), ("count", "<u4"), ("visits", "<u4"), ("kind", "<u1")],
)
LAYOUT = 1


class OtherLayoutError(Exception):
    """Stored histories have another layout, or are damaged; they are folded again from the log."""


@dataclass(frozen=True)
class Histories:
    """U histories side by side: `headers` (U,) HEADER; `entries` (E,) ENTRY and `owner` (E,) their user's row, ascending."""

    headers: NDArray[np.void]
    entries: NDArray[np.void]
    owner: NDArray[np.int64]


def empty_headers(partitions: NDArray[np.int64]) -> NDArray[np.void]:
    """Headers of users without a past, one per element of `partitions`."""
    headers = np.zeros(len(partitions), HEADER)
    headers["layout"] = LAYOUT
    headers["partition"] = partitions
    for name in ("base_offset", "last_offset"):
        headers[name] = -1
    for name in ("base_clock", "base_purchase", "last_time", "row_time"):
        headers[name] = NEVER
    return headers


def unpack(blobs: list[bytes | None], partitions: NDArray[np.int64]) -> Histories:
    """Read stored histories; None is a user without one. `partitions` (U,): where a new user's actions lie.

    Raises:
        OtherLayoutError: a history that another version of this program wrote, or that is no history.

    """
    headers = empty_headers(partitions)
    size = HEADER.itemsize
    present = [i for i, blob in enumerate(blobs) if blob]
    if present:
        held = [blob for blob in blobs if blob]
        if not all(map(is_whole, held)):
            message = "a stored history is cut off, or somebody else's"
            raise OtherLayoutError(message)
        headers[present] = np.frombuffer(b"".join([blob[:size] for blob in held]), HEADER)
        if (headers["layout"] != LAYOUT).any():
            message = f"stored histories have layout {int(headers['layout'].max())}, this program reads {LAYOUT}"
            raise OtherLayoutError(message)
        lengths = np.array([len(blob) - size for blob in held]) // ENTRY.itemsize
        entries = np.frombuffer(b"".join([blob[size:] for blob in held]), ENTRY)
        return Histories(headers, entries, np.repeat(np.array(present, np.int64), lengths))
    return Histories(headers, np.zeros(0, ENTRY), np.zeros(0, np.int64))


def is_whole(blob: bytes) -> bool:
    """Whether it has the length of a history."""
    return len(blob) >= HEADER.itemsize and (len(blob) - HEADER.itemsize) % ENTRY.itemsize == 0


def partition_of_history(blob: bytes) -> int:
    """The topic partition in which a stored history's actions lie."""
    return int(np.frombuffer(blob[: HEADER.itemsize], HEADER)["partition"][0])


def pack(histories: Histories, rows: NDArray[np.int64]) -> list[bytes]:
    """The stored form of the given rows, in their order."""
    starts = np.searchsorted(histories.owner, rows, "left") * ENTRY.itemsize
    ends = np.searchsorted(histories.owner, rows, "right") * ENTRY.itemsize
    heads, body, size = histories.headers[rows].tobytes(), histories.entries.tobytes(), HEADER.itemsize
    return [heads[i * size : (i + 1) * size] + body[s:e] for i, (s, e) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True))]
