"""Notes on topic user-actions-replays, pure: that a dead letter was sent again, and as which record, or that it is quarantined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec
import orjson
from msgspec import Meta

from infra.contracts.codec import DEPTH, nests_deeper, rfc3339
from jobs.dead_letter import answer_id
from jobs.dlq.letters import Place, as_text

SOURCE = "streamhouse/dlq"
REPLAYED, QUARANTINED = "DeadLetterReplayed", "DeadLetterQuarantined"

_Int = Annotated[int, Meta(ge=0, le=2**63 - 1)]


@dataclass(frozen=True, slots=True)
class Note:
    """`letter`: the refused record's place, as its dead letter names it. `replay`: where it lies now; None: it is quarantined.

    `original`: the first record's place; `retry_count`: how often that one was sent again, this time included. `kafka_ms`: when the
    broker took the note.
    """

    original: Place
    letter: Place
    replay: Place | None
    retry_count: int
    edited: bool = False
    kafka_ms: int = 0


class _Data(msgspec.Struct, rename="camel"):
    original_partition: _Int
    original_offset: _Int
    letter_partition: _Int
    letter_offset: _Int
    retry_count: _Int
    replay_partition: _Int | None = None
    replay_offset: _Int | None = None
    edited: bool = False


class _Event(msgspec.Struct, rename="camel"):
    event_type: str
    data: _Data


_event = msgspec.json.Decoder(_Event)


def read_note(value: bytes | None, kafka_ms: int) -> Note | None:
    """A note; None: it is none. Never raises."""
    if value is None or nests_deeper(value, DEPTH):
        return None
    try:
        event = _event.decode(value)
    except (msgspec.MsgspecError, ValueError):
        return None
    data, replay = event.data, None
    if event.event_type == REPLAYED:
        if data.replay_partition is None or data.replay_offset is None:
            return None
        replay = (data.replay_partition, data.replay_offset)
    elif event.event_type != QUARANTINED:
        return None
    original, letter = (data.original_partition, data.original_offset), (data.letter_partition, data.letter_offset)
    return Note(original, letter, replay, data.retry_count, data.edited, kafka_ms)


def write_note(note: Note, topic: str, now_ms: int) -> tuple[bytes, bytes]:
    """Key and value of a note about a record of `topic`. The same decision has the same event id."""
    event_type = QUARANTINED if note.replay is None else REPLAYED
    data: dict[str, object] = {
        "originalPartition": note.original[0],
        "originalOffset": note.original[1],
        "letterPartition": note.letter[0],
        "letterOffset": note.letter[1],
    }
    if note.replay is not None:
        data |= {"replayPartition": note.replay[0], "replayOffset": note.replay[1], "edited": note.edited}
    event = {
        "eventType": event_type,
        "eventId": answer_id(f"{event_type} {topic}", *note.letter),
        "timestamp": rfc3339(now_ms),
        "version": 1,
        "source": SOURCE,
        "correlationId": answer_id(topic, *note.original),
        "data": data | {"retryCount": note.retry_count},
    }
    return as_text(note.original).encode(), orjson.dumps(event)
