"""Predictions written column by column are the bytes that orjson writes for each as a dictionary."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from features.history import NEVER
from features.online_keys import ACTIVITY, PROFILE
from infra.contracts.codec import rfc3339
from jobs.dead_letter import SOURCE, answer_id
from jobs.prediction_json import FLAG_LISTS, FLAGS, Columns, prediction_json

_MODEL = {"name": 'a "model"', "version": "1", "sha256": "ab" * 32}
_TOPIC = "user-actions"
_MOST = 2**63 - 1
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    ['","', '",', 'x",', ',"', ",", ",\n  ", '",\n  "', '"', "\\", '\\","', "],[", "\n", "é\u2028🛒"]
)
_TIMES = st.integers(-(2**63), _MOST) | st.integers(1_500_000_000_000, 1_900_000_000_000)


def as_dictionary(told: Columns, i: int) -> dict[str, Any]:
    """The prediction as its contract describes it, one field after the other."""
    offset, time, profile = int(told.activity_offset[i]), int(told.activity_time[i]), int(told.profile_time[i])
    return {
        "eventType": "Prediction",
        "eventId": answer_id(_TOPIC, int(told.partition[i]), int(told.offset[i])),
        "timestamp": rfc3339(int(told.time[i])),
        "version": 1,
        "source": SOURCE,
        "correlationId": told.correlation_id[i],
        "data": {
            "actionId": told.action_id[i],
            "actionPartition": int(told.partition[i]),
            "actionOffset": int(told.offset[i]),
            "userId": told.user_id[i],
            "score": told.scores[i],
            "decision": bool(told.decisions[i]),
            "model": _MODEL,
            "features": told.x[i],
            "rows": {
                ACTIVITY: {"offset": offset if offset >= 0 else None, "time": None if time == NEVER else rfc3339(time)},
                PROFILE: {"time": None if profile < 0 else rfc3339(profile)},
            },
            "flags": FLAG_LISTS[int(told.flagged[i])],
        },
    }


@st.composite
def columns(draw: st.DrawFn) -> Columns:
    m, d = draw(st.integers(1, 4)), draw(st.integers(1, 3))

    def integers(values: st.SearchStrategy[int]) -> Any:
        return np.array(draw(st.lists(values, min_size=m, max_size=m)), np.int64)

    def texts() -> list[str]:
        return draw(st.lists(_TEXT, min_size=m, max_size=m))

    floats = st.floats(width=32)
    return Columns(
        action_id=draw(st.lists(st.uuids(), min_size=m, max_size=m)),
        correlation_id=texts(),
        user_id=texts(),
        partition=integers(st.integers(0, 65_535)),
        offset=integers(st.integers(0, _MOST)),
        time=integers(_TIMES),
        scores=draw(arrays.arrays(np.float32, m, elements=floats)),
        decisions=draw(arrays.arrays(np.bool_, m)),
        x=draw(arrays.arrays(np.float32, (m, d), elements=floats)),
        activity_offset=integers(st.integers(-1, _MOST)),
        activity_time=integers(_TIMES | st.just(NEVER)),
        profile_time=integers(_TIMES | st.just(-1)),
        flagged=draw(arrays.arrays(np.uint8, m, elements=st.integers(0, len(FLAG_LISTS) - 1))),
    )


@given(columns())
def test_the_bytes_are_those_of_the_dictionary(told: Columns) -> None:
    wanted = [orjson.dumps(as_dictionary(told, i), option=orjson.OPT_SERIALIZE_NUMPY) for i in range(len(told.offset))]
    assert prediction_json(_TOPIC, _MODEL, told) == wanted


def test_of_no_action_there_is_no_prediction() -> None:
    none, numbers = np.zeros(0, np.int64), np.zeros(0, np.float32)
    told = Columns(
        [], [], [], none, none, none, numbers, none.astype(bool), np.zeros((0, 3), np.float32), none, none, none, none.astype(np.uint8)
    )
    assert prediction_json(_TOPIC, _MODEL, told) == []


def test_a_flag_number_says_each_flag_by_its_bit() -> None:
    assert FLAG_LISTS[0] == ()
    assert [FLAG_LISTS[1 << i] for i in range(len(FLAGS))] == [(flag,) for flag in FLAGS]
    assert FLAG_LISTS[-1] == FLAGS


def test_ids_are_told_from_each_other() -> None:
    action = [UUID(int=1), UUID(int=2)]
    two = np.array([1, 2])
    told = Columns(
        action, ["c", "c"], ["u", "u"], two, two, two, two.astype(np.float32), two > 1, np.ones((2, 1), np.float32), two, two, two,
        np.zeros(2, np.uint8),
    )  # fmt: skip
    assert [orjson.loads(value)["data"]["actionId"] for value in prediction_json(_TOPIC, _MODEL, told)] == [str(one) for one in action]
