"""The product itself, pure: a batch of records -> one answer each, a prediction or a dead letter.

    records -> decode, validate -> enrich -> score -> encode

The lookup, the model and the time are arguments. The stream, a replay and the tests run this one function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from features.activity import FEATURES, KIND_OF_ACTION, OTHER
from features.enrich import Batch, Enriched, session_hash
from features.online_keys import ACTIVITY, PROFILE
from features.profile import ProfileValues, profiles_at
from infra.contracts.codec import check_event_time, event_milliseconds
from infra.contracts.events import Rejected, UserAction, UserActionData
from infra.contracts.partitioner import partition_of
from jobs.dead_letter import dead_letter
from jobs.framed_records import plain_values
from jobs.prediction_json import FLAG_LISTS, Columns, prediction_json
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
    def data(self) -> list[UserActionData]:
        """What each event says."""
        return [event.data for event in self.events]

    @cached_property
    def users(self) -> list[str]:
        """Who acted."""
        return [data.user_id for data in self.data]

    @cached_property
    def batch(self) -> Batch:
        """As the fold takes them; who does not fold need not pay for it."""
        return Batch(
            users=self.users,
            partition=self.partition,
            offset=self.offset,
            time=self.time,
            kind=np.array([KIND_OF_ACTION.get(data.action, OTHER) for data in self.data], np.int64),
            session=np.array([session_hash(data.session_id) for data in self.data], np.uint64),
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
    `profile_time` (m,) ms, -1: none; `flagged` (m,) numbers that stand for lists of flags, as in jobs.prediction_json.
    """

    x: NDArray[np.float32]
    activity_offset: NDArray[np.int64]
    activity_time: NDArray[np.int64]
    profile_time: NDArray[np.int64]
    flagged: NDArray[np.uint8]

    @cached_property
    def flags(self) -> list[tuple[str, ...]]:
        """Of each prediction."""
        return [FLAG_LISTS[number] for number in self.flagged.tolist()]


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

    finite = np.isfinite(scores)
    for i in np.flatnonzero(~finite).tolist():
        why = Rejected("score", "score_not_finite", f"model {model.name} {model.version} gave {scores[i]}")
        refused[int(accepted.position[i])] = why
    values: list[bytes] = [b""] * len(records.values)
    keys, is_prediction = list(records.keys), [False] * len(records.values)
    for position, user, prediction in zip(accepted.position.tolist(), accepted.users, predictions, strict=True):
        keys[position], values[position], is_prediction[position] = user.encode(), prediction, True
    for position, why in refused.items():
        keys[position], values[position] = dead_letter(records, position, rules, why, now_ms)
        is_prediction[position] = False
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
        columns[f"action:{name}"] = list(map(attrgetter(name), accepted.data))
    return columns


def look_up(accepted: Accepted, enriched: Enriched, model: Model) -> Given:
    """What the model is given for each accepted action: its features and profile as they were known, in the model's order."""
    n, time, rows = len(accepted.events), accepted.time, enriched.rows
    profiles = profiles_at(enriched.profiles.known, enriched.profiles.columns, enriched.user, time)
    x = np.ascontiguousarray(model.inputs(model_columns(accepted, enriched, profiles), n))
    strangers = profiles.missing & (rows.known_offset < 0)
    of_flags = np.array((strangers, profiles.missing, profiles.stale, rows.late))
    flagged = np.packbits(of_flags, axis=0, bitorder="little")[0]
    return Given(x, rows.known_offset, rows.known_time, profiles.known, flagged)


def score(x: NDArray[np.float32], model: Model) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(m, d) float32 inputs -> (m,) float32 scores and (m,) decisions."""
    scores = model.score(x) if len(x) else np.zeros(0, np.float32)
    return scores, scores >= model.threshold


def encode(
    accepted: Accepted, rules: Rules, given: Given, model: Model, scores: NDArray[np.float32], decisions: NDArray[np.bool_]
) -> list[bytes]:
    """Each accepted action's prediction with all that it was made from; its score is null where it is none."""
    return prediction_json(
        rules.topic,
        {"name": model.name, "version": model.version, "sha256": model.sha256},
        Columns(
            action_id=[event.event_id for event in accepted.events],
            correlation_id=[event.correlation_id for event in accepted.events],
            user_id=accepted.users,
            partition=accepted.partition,
            offset=accepted.offset,
            time=accepted.time,
            scores=scores,
            decisions=decisions,
            x=given.x,
            activity_offset=given.activity_offset,
            activity_time=given.activity_time,
            profile_time=given.profile_time,
            flagged=given.flagged,
        ),
    )
