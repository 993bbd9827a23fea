"""Typed columns of archived records, pure: what stands in a value, or null where it does not decode.

The archive keeps every committed record whatever it holds; the typed columns beside its bytes are a reading aid. `event_time` is the
event's own where the contract's window believes it, else Kafka's, so that no forged date makes endless partitions.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from infra.contracts.codec import DEPTH, event_milliseconds, nests_deeper
from infra.contracts.columns import Extractor
from infra.contracts.events import UserAction
from infra.contracts.framing import payload
from infra.contracts.in_effect import Contract
from jobs.archive_columns import EVENT_TOPICS, LETTER_TOPICS
from jobs.patterns.message import CAUSATION, VERSION

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


class _DecisionData(msgspec.Struct, rename="camel"):
    topic: str
    partition: _Int
    from_offset: _BigInt | None = None
    until_offset: _BigInt | None = None
    schema_id: _BigInt | None = None
    schema_type: str | None = None


class _Envelope(msgspec.Struct, rename="camel"):
    event_type: str
    event_id: str
    timestamp: _Moment
    version: _Int
    source: str
    correlation_id: str


class _Prediction(_Envelope):
    data: _PredictionData


class _DeadLetter(_Envelope):
    data: _DeadLetterData


class _Note(_Envelope):
    data: _NoteData


class _Decision(_Envelope):
    data: _DecisionData


class _Event(_Envelope):
    data: msgspec.Raw


_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    "predictions": msgspec.json.Decoder(_Prediction),
    "user-actions-replays": msgspec.json.Decoder(_Note),
    "schema-ids": msgspec.json.Decoder(_Decision),
    **dict.fromkeys(("user-actions-dlq", *LETTER_TOPICS), msgspec.json.Decoder(_DeadLetter)),
    **dict.fromkeys(EVENT_TOPICS, msgspec.json.Decoder(_Event)),
}

Row = dict[str, Any]
Headers = Mapping[str, bytes | None]
NO_HEADERS: Headers = MappingProxyType({})


def archive_row(
    topic: str,
    value: bytes | None,
    kafka_ms: int,
    contract: Contract,
    key: bytes | None = None,
    headers: Headers = NO_HEADERS,
    fields: Extractor | None = None,
) -> Row:
    """The typed columns of one record and `event_ms`; columns that do not apply or do not decode are missing.

    Key and headers tell something of records on `EVENT_TOPICS` alone; `fields` reads the columns of user-actions, by default those of the
    newest contract, so that all rows have the same.
    """
    if topic == "user-actions":
        event = contract.at(kafka_ms).decoder.decode(value)
        if not isinstance(event, UserAction):
            return {"event_ms": kafka_ms}
        read = fields or contract.newest.columns
        return {
            **_envelope(event, str(event.event_id)),
            **dict.fromkeys(read.names),
            **read.read(value, event.version),
            "event_ms": _believed(event_milliseconds(event.timestamp), kafka_ms, contract),
        }
    said = payload(value)
    if said is None or nests_deeper(said, DEPTH):
        return {"event_ms": kafka_ms}
    try:
        decoded = _DECODERS[topic].decode(said)
        event_ms = event_milliseconds(decoded.timestamp)
        flat = _event(decoded.data, key, headers) if isinstance(decoded, _Event) else _flat(decoded.data)
    except (msgspec.MsgspecError, ValueError):
        return {"event_ms": kafka_ms}
    return {**_envelope(decoded, decoded.event_id), **flat, "event_ms": _believed(event_ms, kafka_ms, contract)}


def _envelope(event: UserAction | _Envelope, event_id: str) -> Row:
    return {
        "event_type": event.event_type,
        "event_id": event_id,
        "event_version": event.version,
        "source": event.source,
        "correlation_id": event.correlation_id,
    }


def _flat(data: _PredictionData | _DeadLetterData | _NoteData | _DecisionData) -> Row:
    if isinstance(data, _NoteData):
        return msgspec.structs.asdict(data)
    if isinstance(data, _DecisionData):
        row = msgspec.structs.asdict(data)
        return {"source_topic": row.pop("topic"), "source_partition": row.pop("partition"), **row}
    return _prediction(data) if isinstance(data, _PredictionData) else _dead_letter(data)


def _event(data: msgspec.Raw, key: bytes | None, headers: Headers) -> Row:
    text = bytes(data).decode("utf-8")
    if not text.startswith("{"):
        message = "the data of an event is an object"
        raise ValueError(message)
    return {
        "aggregate_id": _text(key),
        "aggregate_version": _number(headers.get(VERSION)),
        "causation_id": _text(headers.get(CAUSATION)),
        "data": text,
    }


def _text(given: bytes | None) -> str | None:
    try:
        return None if given is None else given.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _number(given: bytes | None) -> int | None:
    """A whole number that a column holds; None for anything else."""
    if given is None or not given.isdigit() or len(given) > 19:
        return None
    number = int(given)
    return number if number < 2**63 else None


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


def _believed(event_ms: int, kafka_ms: int, contract: Contract) -> int:
    window = contract.at(kafka_ms).window
    return event_ms if window.not_before <= event_ms <= kafka_ms + window.ahead else kafka_ms
