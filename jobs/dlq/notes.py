"""Notes on user-actions-replays and command-replays, pure: a dead letter was sent again, as which record, or it is quarantined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeVar

import msgspec
import orjson
from msgspec import Meta

from infra.contracts.codec import DEPTH, nests_deeper, rfc3339
from jobs.dead_letter import answer_id
from jobs.dlq.letters import Place, as_text, place_in, topic_of

SOURCE = "streamhouse/dlq"
REPLAYED, QUARANTINED = "DeadLetterReplayed", "DeadLetterQuarantined"
COMMAND_REPLAYED, COMMAND_QUARANTINED = "CommandReplayed", "CommandQuarantined"

_T = TypeVar("_T")
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


class _CommandData(_Data, rename="camel", kw_only=True):
    command_topic: str
    original_topic: str
    letter_topic: str


class _CommandEvent(msgspec.Struct, rename="camel"):
    event_type: str
    data: _CommandData


_event, _command_event = msgspec.json.Decoder(_Event), msgspec.json.Decoder(_CommandEvent)


def read_note(value: bytes | None, kafka_ms: int) -> Note | None:
    """A note about a user action; None: it is none. Never raises."""
    event = _decoded(_event, value)
    if event is None or not _is_whole(event, REPLAYED, QUARANTINED):
        return None
    data = event.data
    original, letter = (data.original_partition, data.original_offset), (data.letter_partition, data.letter_offset)
    return Note(original, letter, _replay(data), data.retry_count, data.edited, kafka_ms)


def read_command_note(value: bytes | None, kafka_ms: int) -> tuple[str, Note] | None:
    """A note about what a participant refused, and the command topic that it is about; None: it is none. Never raises."""
    event = _decoded(_command_event, value)
    if event is None or not _is_whole(event, COMMAND_REPLAYED, COMMAND_QUARANTINED):
        return None
    data, topic = event.data, event.data.command_topic
    original = place_in(topic, data.original_topic, data.original_partition, data.original_offset)
    letter = place_in(topic, data.letter_topic, data.letter_partition, data.letter_offset)
    return topic, Note(original, letter, _replay(data), data.retry_count, data.edited, kafka_ms)


def write_note(note: Note, topic: str, now_ms: int, *, is_command: bool = False) -> tuple[bytes, bytes]:
    """Key and value of a note about a dead letter of `topic`. The same decision has the same event id."""
    original, letter = topic_of(note.original, topic), topic_of(note.letter, topic)
    names = (COMMAND_QUARANTINED, COMMAND_REPLAYED) if is_command else (QUARANTINED, REPLAYED)
    event_type = names[note.replay is not None]
    data: dict[str, object] = {
        "originalPartition": note.original[0],
        "originalOffset": note.original[1],
        "letterPartition": note.letter[0],
        "letterOffset": note.letter[1],
    }
    if is_command:
        data = {"commandTopic": topic, "originalTopic": original, "letterTopic": letter} | data
    if note.replay is not None:
        data |= {"replayPartition": note.replay[0], "replayOffset": note.replay[1], "edited": note.edited}
    about = f"{event_type} {topic} {letter}" if is_command else f"{event_type} {topic}"
    event = {
        "eventType": event_type,
        "eventId": answer_id(about, note.letter[0], note.letter[1]),
        "timestamp": rfc3339(now_ms),
        "version": 1,
        "source": SOURCE,
        "correlationId": answer_id(original, note.original[0], note.original[1]),
        "data": data | {"retryCount": note.retry_count},
    }
    return as_text(note.original).encode(), orjson.dumps(event)


def _decoded(decoder: msgspec.json.Decoder[_T], value: bytes | None) -> _T | None:
    if value is None or nests_deeper(value, DEPTH):
        return None
    try:
        return decoder.decode(value)
    except (msgspec.MsgspecError, ValueError):
        return None


def _is_whole(event: _Event | _CommandEvent, replayed: str, quarantined: str) -> bool:
    return event.event_type == quarantined or (event.event_type == replayed and _replay(event.data) is not None)


def _replay(data: _Data) -> tuple[int, int] | None:
    if data.replay_partition is None or data.replay_offset is None:
        return None
    return data.replay_partition, data.replay_offset
