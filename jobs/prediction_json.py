"""Predictions as JSON, column by column: every field of all of them as text first, then one line of text for each.

What is said once for a batch costs a tenth of what is said once for an action. The bytes are those that orjson writes for the same
prediction as a dictionary, which its test holds it to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
import orjson
from numpy.typing import NDArray

from features.history import NEVER
from features.online_keys import ACTIVITY, PROFILE
from infra.contracts.codec import rfc3339_texts
from jobs.dead_letter import SOURCE, answer_ids

FLAGS = ("unknown_user", "profile_missing", "profile_stale", "late_action")
"""What a prediction may be flagged with; bit i of a flag number says that it has the i-th."""
FLAG_LISTS = tuple(tuple(flag for i, flag in enumerate(FLAGS) if number >> i & 1) for number in range(1 << len(FLAGS)))
"""The flags of each flag number."""
_FLAG_TEXTS = [orjson.dumps(flags).decode() for flags in FLAG_LISTS]
_TRUTH = ("false", "true")


@dataclass(frozen=True)
class Columns:
    """m predictions; each column (m,).

    `time`, `activity_time` (NEVER: none), `profile_time` (below 0: none) in ms; `activity_offset` -1: none; `scores` (m,) float32,
    `x` (m, d) float32, `decisions` (m,) bool, `flagged` (m,) flag numbers.
    """

    action_id: Sequence[UUID]
    correlation_id: Sequence[str]
    user_id: Sequence[str]
    partition: NDArray[np.int64]
    offset: NDArray[np.int64]
    time: NDArray[np.int64]
    scores: NDArray[np.float32]
    decisions: NDArray[np.bool_]
    x: NDArray[np.float32]
    activity_offset: NDArray[np.int64]
    activity_time: NDArray[np.int64]
    profile_time: NDArray[np.int64]
    flagged: NDArray[np.uint8]


def prediction_json(topic: str, model: dict[str, str], told: Columns) -> list[bytes]:
    """Each prediction's value: answers to actions of `topic` by `model` (its name, version and sha256)."""
    if not len(told.offset):
        return []
    head = '{"eventType":"Prediction","eventId":"'
    middle = f'","version":1,"source":{_json(SOURCE)},"correlationId":"'
    by = f',"model":{_json(model)},"features":['
    rows = zip(
        answer_ids(topic, told.partition, told.offset),
        rfc3339_texts(told.time),
        _strings(told.correlation_id),
        _strings(told.action_id),
        told.partition.tolist(),
        told.offset.tolist(),
        _strings(told.user_id),
        _numbers(told.scores),
        told.decisions.tolist(),
        _rows(told.x),
        _or_null(told.activity_offset < 0, list(map(str, told.activity_offset.tolist()))),
        _or_null(told.activity_time == NEVER, _quoted(rfc3339_texts(told.activity_time))),
        _or_null(told.profile_time < 0, _quoted(rfc3339_texts(told.profile_time))),
        told.flagged.tolist(),
        strict=True,
    )
    return [
        (
            f'{head}{event_id}","timestamp":"{time}{middle}{correlation}","data":{{"actionId":"{action}","actionPartition":{partition}'
            f',"actionOffset":{offset},"userId":"{user}","score":{score},"decision":{_TRUTH[decision]}{by}{features}'
            f'],"rows":{{"{ACTIVITY}":{{"offset":{known},"time":{since}}},"{PROFILE}":{{"time":{profile}}}}}'
            f',"flags":{_FLAG_TEXTS[flags]}}}}}'
        ).encode()
        for event_id, time, correlation, action, partition, offset, user, score, decision, features, known, since, profile, flags in rows
    ]


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def _strings(texts: Sequence[str | UUID]) -> list[str]:
    """Each text as it stands between the quotes of a JSON string.

    No line ends in there, so where each has a line the lines tell them apart. A comma between quotes does not: a text may end in them.
    """
    return orjson.dumps(texts, option=orjson.OPT_INDENT_2)[5:-3].decode().split('",\n  "')


def _numbers(column: NDArray[np.float32]) -> list[str]:
    """Each with as few digits as tell it from its neighbours of the same type."""
    return orjson.dumps(column, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].decode().split(",")


def _rows(x: NDArray[np.float32]) -> list[str]:
    return orjson.dumps(x, option=orjson.OPT_SERIALIZE_NUMPY)[2:-2].decode().split("],[")


def _quoted(texts: list[str]) -> list[str]:
    return [f'"{text}"' for text in texts]


def _or_null(absent: NDArray[np.bool_], texts: list[str]) -> list[str]:
    for i in np.flatnonzero(absent).tolist():
        texts[i] = "null"
    return texts
