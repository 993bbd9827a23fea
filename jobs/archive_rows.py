"""Typed columns of archived records, pure: what stands in a value, or null where it does not decode.

The archive keeps every committed record whatever it holds; the typed columns beside its bytes are a reading aid. `event_time` is the
event's own where the contract's window believes it, else Kafka's, so that no forged date makes endless partitions.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from infra.contracts.codec import DEPTH, EventTimeWindow, decode_user_action, event_milliseconds, nests_deeper
from infra.contracts.events import UserAction

# what a column holds: a value past it leaves the typed columns null, as anything else that does not decode
_LARGEST_FLOAT = (2 - 2**-23) * 2.0**127
_Moment = Annotated[datetime, Meta(tz=True)]
_Int = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
_BigInt = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Float = Annotated[float, Meta(ge=-_LARGEST_FLOAT, le=_LARGEST_FLOAT)]


class _Model(msgspec.Struct):
    name: str
    version: str
    sha256: str


class _PredictionData(msgspec.Struct, rename="camel"):
    action_id: str
    action_partition: _Int
    action_offset: _BigInt
    user_id: str
    score: _Float
    decision: bool
    model: _Model
    features: list[_Float | None]
    flags: list[str]


class _Error(msgspec.Struct):
    step: str
    reason: str
    message: str


class _DeadLetterData(msgspec.Struct, rename="camel"):
    error: _Error
    retry_count: _Int
    source_topic: str
    source_partition: _Int
    source_offset: _BigInt
    original_partition: _Int | None = None
    original_offset: _BigInt | None = None


class _NoteData(msgspec.Struct, rename="camel"):
    original_partition: _Int
    original_offset: _BigInt
    letter_partition: _Int
    letter_offset: _BigInt
    retry_count: _Int
    replay_partition: _Int | None = None
    replay_offset: _BigInt | None = None
    edited: bool | None = None


class _Prediction(msgspec.Struct, rename="camel"):
    event_type: str
    event_id: str
    timestamp: _Moment
    version: _Int
    source: str
    correlation_id: str
    data: _PredictionData


class _DeadLetter(msgspec.Struct, rename="camel"):
    event_type: str
    event_id: str
    timestamp: _Moment
    version: _Int
    source: str
    correlation_id: str
    data: _DeadLetterData


class _Note(msgspec.Struct, rename="camel"):
    event_type: str
    event_id: str
    timestamp: _Moment
    version: _Int
    source: str
    correlation_id: str
    data: _NoteData


_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    "predictions": msgspec.json.Decoder(_Prediction),
    "user-actions-dlq": msgspec.json.Decoder(_DeadLetter),
    "user-actions-replays": msgspec.json.Decoder(_Note),
}

ENVELOPE = {
    "event_type": "STRING",
    "event_id": "STRING",
    "event_version": "INT",
    "source": "STRING",
    "correlation_id": "STRING",
}
COLUMNS: dict[str, dict[str, str]] = {
    "user-actions": {
        "user_id": "STRING",
        "session_id": "STRING",
        "action": "STRING",
        "platform": "STRING",
        "lifecycle": "STRING",
    },
    "predictions": {
        "action_id": "STRING",
        "action_partition": "INT",
        "action_offset": "BIGINT",
        "user_id": "STRING",
        "score": "FLOAT",
        "decision": "BOOLEAN",
        "model_name": "STRING",
        "model_version": "STRING",
        "model_sha256": "STRING",
        "features": "ARRAY<FLOAT>",
        "flags": "ARRAY<STRING>",
    },
    "user-actions-dlq": {
        "step": "STRING",
        "reason": "STRING",
        "message": "STRING",
        "retry_count": "INT",
        "source_topic": "STRING",
        "source_partition": "INT",
        "source_offset": "BIGINT",
        "original_partition": "INT",
        "original_offset": "BIGINT",
    },
    "user-actions-replays": {
        "original_partition": "INT",
        "original_offset": "BIGINT",
        "letter_partition": "INT",
        "letter_offset": "BIGINT",
        "replay_partition": "INT",
        "replay_offset": "BIGINT",
        "retry_count": "INT",
        "edited": "BOOLEAN",
    },
}
"""Typed columns by topic, with their Flink types."""

Row = dict[str, Any]


def archive_row(topic: str, value: bytes | None, kafka_ms: int, window: EventTimeWindow) -> Row:
    """The typed columns of one record and `event_ms`; columns that do not apply or do not decode are missing."""
    if topic == "user-actions":
        event = decode_user_action(value)
        if not isinstance(event, UserAction):
            return {"event_ms": kafka_ms}
        data = event.data
        columns: Row = {
            "user_id": data.user_id,
            "session_id": data.session_id,
            "action": data.action,
            "platform": data.platform,
            "lifecycle": data.lifecycle,
        }
        return {
            **_envelope(event, str(event.event_id)),
            **columns,
            "event_ms": _believed(event_milliseconds(event.timestamp), kafka_ms, window),
        }
    if value is None or nests_deeper(value, DEPTH):
        return {"event_ms": kafka_ms}
    try:
        decoded = _DECODERS[topic].decode(value)
        event_ms = event_milliseconds(decoded.timestamp)
    except (msgspec.MsgspecError, ValueError):
        return {"event_ms": kafka_ms}
    flat = _flat(decoded.data)
    return {**_envelope(decoded, decoded.event_id), **flat, "event_ms": _believed(event_ms, kafka_ms, window)}


def _envelope(event: UserAction | _Prediction | _DeadLetter | _Note, event_id: str) -> Row:
    return {
        "event_type": event.event_type,
        "event_id": event_id,
        "event_version": event.version,
        "source": event.source,
        "correlation_id": event.correlation_id,
    }


def _flat(data: _PredictionData | _DeadLetterData | _NoteData) -> Row:
    if isinstance(data, _NoteData):
        return msgspec.structs.asdict(data)
    return _prediction(data) if isinstance(data, _PredictionData) else _dead_letter(data)


def _prediction(data: _PredictionData) -> Row:
    return {
        "action_id": data.action_id,
        "action_partition": data.action_partition,
        "action_offset": data.action_offset,
        "user_id": data.user_id,
        "score": data.score,
        "decision": data.decision,
        "model_name": data.model.name,
        "model_version": data.model.version,
        "model_sha256": data.model.sha256,
        "features": data.features,
        "flags": data.flags,
    }


def _dead_letter(data: _DeadLetterData) -> Row:
    return {
        "step": data.error.step,
        "reason": data.error.reason,
        "message": data.error.message,
        "retry_count": data.retry_count,
        "source_topic": data.source_topic,
        "source_partition": data.source_partition,
        "source_offset": data.source_offset,
        "original_partition": data.original_partition,
        "original_offset": data.original_offset,
    }


def _believed(event_ms: int, kafka_ms: int, window: EventTimeWindow) -> int:
    return event_ms if window.not_before <= event_ms <= kafka_ms + window.ahead else kafka_ms
