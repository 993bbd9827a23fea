"""The product itself, pure: a batch of records -> one answer each, a prediction or a dead letter.

    records -> decode, validate -> enrich -> score -> encode

The lookup, the model and the time are arguments. The stream, a replay and the tests run this one function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from features.activity import FEATURES, KIND_OF_ACTION, OTHER
from features.enrich import Batch, Enriched, session_hash
from features.history import NEVER
from features.online import ACTIVITY, PROFILE
from features.profile import ProfileValues, profiles_at
from infra.contracts.codec import check_event_time, event_milliseconds, rfc3339
from infra.contracts.events import Rejected, UserAction
from infra.contracts.partitioner import partition_of
from jobs.dead_letter import SOURCE, answer_id, dead_letter
from jobs.framed_records import plain_values
from jobs.records import Records, Rules, offset_ranges


@dataclass(frozen=True)
class Accepted:
    """The m records that are actions: their positions among the n, the events, where they lie, and their event times in ms."""

    position: NDArray[np.int64]
    events: list[UserAction]
    partition: NDArray[np.int64]
    offset: NDArray[np.int64]
    time: NDArray[np.int64]

    @cached_property
    def batch(self) -> Batch:
        """As the fold takes them; who does not fold need not pay for it."""
        return Batch(
            users=[event.data.user_id for event in self.events],
            partition=self.partition,
            offset=self.offset,
            time=self.time,
            kind=np.array([KIND_OF_ACTION.get(event.data.action, OTHER) for event in self.events], np.int64),
            session=np.array([session_hash(event.data.session_id) for event in self.events], np.uint64),
        )


@dataclass(frozen=True)
class Model:
    """A published model as the path sees it: columns -> (m, d) float32 inputs -> (m,) float32 scores.

    `sources` (d,): where each input comes from, as `user_activity:actions_10m`. `agrees`: for two scores (m,) of the same rows whether
    one model may give both: to the bit, or within the tolerance that its manifest states.
    """

    name: str
    version: str
    sha256: str
    threshold: float
    sources: tuple[str, ...]
    inputs: Callable[[dict[str, Any], int], NDArray[np.float32]]
    score: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    agrees: Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.bool_]]

    @property
    def width(self) -> int:
        """How many numbers it takes for one score."""
        return len(self.sources)


@dataclass(frozen=True)
class Given:
    """What m actions are scored with, and which rows it was taken from, as their predictions tell it.

    `x` (m, d) float32 in the model's input order; `activity_offset` (m,), -1: none; `activity_time` (m,) ms, NEVER: none;
    `profile_time` (m,) ms, -1: none; `flags` (m,) lists.
    """

    x: NDArray[np.float32]
    activity_offset: NDArray[np.int64]
    activity_time: NDArray[np.int64]
    profile_time: NDArray[np.int64]
    flags: list[list[str]]


class Enrich(Protocol):
    """Features for accepted actions; the records of the batch span the given offsets of their partitions."""

    def __call__(self, batch: Batch, first_offsets: dict[int, int], last_offsets: dict[int, int]) -> Enriched: ...


@dataclass(frozen=True)
class Answers:
    """One answer per record: `is_prediction` (n,), else a dead letter; key and value bytes of the message to publish."""

    is_prediction: list[bool]
    keys: list[bytes | None]
    values: list[bytes]


def answer(records: Records, rules: Rules, enrich: Enrich, model: Model, now_ms: int) -> Answers:
    """Answer every record exactly once. Bad input is a value here; an exception is a fault of ours or of a service."""
    accepted, refused = accept(records, rules)
    first, last = offset_ranges(records)
    given = look_up(accepted, enrich(accepted.batch, first, last), model)
    scores, decisions = score(given.x, model)
    predictions = encode(accepted, rules, given, model, scores, decisions)

    values: list[bytes] = [b""] * len(records.values)
    keys, is_prediction = list(records.keys), [False] * len(records.values)
    for i, position in enumerate(accepted.position.tolist()):
        if np.isfinite(scores[i]):
            values[position], is_prediction[position] = predictions[i], True
            keys[position] = accepted.events[i].data.user_id.encode()
        else:
            refused[position] = Rejected("score", "score_not_finite", f"model {model.name} {model.version} gave {scores[i]}")
    for position, why in refused.items():
        keys[position], values[position] = dead_letter(records, position, rules, why, now_ms)
    return Answers(is_prediction, keys, values)


def accept(records: Records, rules: Rules) -> tuple[Accepted, dict[int, Rejected]]:
    """Decode and validate each record; refusals by their position."""
    values, unread = plain_values(records, rules)
    decoded = rules.contract.decode(values, records.kafka_ms)
    for position, why in unread.items():
        decoded[position] = why
    refused = {i: event for i, event in enumerate(decoded) if isinstance(event, Rejected)}
    events = [event for event in decoded if not isinstance(event, Rejected)]
    at = np.delete(np.arange(len(decoded)), list(refused))
    times = np.array([event_milliseconds(event.timestamp) for event in events], np.int64)
    partition, kafka_ms = records.partition[at], records.kafka_ms[at]
    # what the two checks below ask, of all at once
    (not_before, ahead), count = rules.contract.windows(kafka_ms), rules.partitions
    fits = (not_before <= times) & (times - ahead <= kafka_ms)
    fits &= np.array([partition_of(event.data.user_id, count) for event in events], np.int64) == partition
    if not fits.all():
        for j in np.flatnonzero(~fits).tolist():
            moment = int(kafka_ms[j])
            window, event = rules.contract.at(moment).window, events[j]
            bad = check_event_time(int(times[j]), moment, window) or check_partition(event, int(partition[j]), rules)
            assert bad is not None
            refused[int(at[j])] = bad
        events = [event for event, is_good in zip(events, fits.tolist(), strict=True) if is_good]
        at, times, partition = at[fits], times[fits], partition[fits]
    return Accepted(at, events, partition, records.offset[at], times), refused


def check_partition(event: UserAction, partition: int, rules: Rules) -> Rejected | None:
    """A user's actions must share a partition: its order is what features are folded in."""
    expected = partition_of(event.data.user_id, rules.partitions)
    if expected == partition:
        return None
    return Rejected(
        "validate",
        "wrong_partition",
        f"user {event.data.user_id!r} belongs to partition {expected} by murmur2 of the user id, the record lies in {partition};"
        " set the producer's partitioner to murmur2_random and its key to the user id",
    )


def model_columns(accepted: Accepted, enriched: Enriched, profiles: ProfileValues) -> dict[str, Any]:
    """Everything a model may ask for, by `view:feature`."""
    columns: dict[str, Any] = {f"{ACTIVITY}:{name}": enriched.rows.values[:, i] for i, name in enumerate(FEATURES)}
    columns |= {f"{PROFILE}:{name}": values for name, values in profiles.columns.items()}
    for name in ("action", "platform", "lifecycle"):
        columns[f"action:{name}"] = [getattr(event.data, name) for event in accepted.events]
    return columns


def look_up(accepted: Accepted, enriched: Enriched, model: Model) -> Given:
    """What the model is given for each accepted action: its features and profile as they were known, in the model's order."""
    n, time, rows = len(accepted.events), accepted.time, enriched.rows
    profiles = profiles_at(enriched.profiles.known, enriched.profiles.columns, enriched.user, time)
    x = np.ascontiguousarray(model.inputs(model_columns(accepted, enriched, profiles), n))
    strangers = profiles.missing & (rows.known_offset < 0)
    flags = [
        ["unknown_user"] * stranger + ["profile_missing"] * missing + ["profile_stale"] * stale + ["late_action"] * late
        for stranger, missing, stale, late in zip(
            strangers.tolist(), profiles.missing.tolist(), profiles.stale.tolist(), rows.late.tolist(), strict=True
        )
    ]
    return Given(x, rows.known_offset, rows.known_time, profiles.known, flags)


def score(x: NDArray[np.float32], model: Model) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(m, d) float32 inputs -> (m,) float32 scores and (m,) decisions."""
    scores = model.score(x) if len(x) else np.zeros(0, np.float32)
    return scores, scores >= model.threshold


def encode(
    accepted: Accepted, rules: Rules, given: Given, model: Model, scores: NDArray[np.float32], decisions: NDArray[np.bool_]
) -> list[bytes]:
    """Each accepted action's prediction with all that it was made from."""
    identity = {"name": model.name, "version": model.version, "sha256": model.sha256}
    columns = (
        accepted.partition,
        accepted.offset,
        accepted.time,
        decisions,
        given.activity_offset,
        given.activity_time,
        given.profile_time,
    )
    encoded = []
    for i, (event, partition, offset, time, decision, known_offset, known_time, known_profile) in enumerate(
        zip(accepted.events, *(column.tolist() for column in columns), strict=True)
    ):
        prediction = {
            "eventType": "Prediction",
            "eventId": answer_id(rules.topic, partition, offset),
            "timestamp": rfc3339(time),
            "version": 1,
            "source": SOURCE,
            "correlationId": event.correlation_id,
            "data": {
                "actionId": event.event_id,
                "actionPartition": partition,
                "actionOffset": offset,
                "userId": event.data.user_id,
                "score": scores[i],
                "decision": decision,
                "model": identity,
                "features": given.x[i],
                "rows": {
                    ACTIVITY: {
                        "offset": known_offset if known_offset >= 0 else None,
                        "time": None if known_time == NEVER else rfc3339(known_time),
                    },
                    PROFILE: {"time": None if known_profile < 0 else rfc3339(known_profile)},
                },
                "flags": given.flags[i],
            },
        }
        encoded.append(orjson.dumps(prediction, option=orjson.OPT_SERIALIZE_NUMPY))
    return encoded
