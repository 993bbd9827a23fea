"""A wait counts only where each consumer saw each prediction once, and all the same one."""

from __future__ import annotations

import orjson

from tests.benchmarks.latency import unlike


def prediction(offset: int, score: float = 0.5) -> bytes:
    return orjson.dumps({"data": {"actionPartition": 0, "actionOffset": offset, "score": score}})


def test_what_both_saw_once_and_alike_is_right_in_any_order() -> None:
    seen = {"read_uncommitted": [prediction(1), prediction(0)], "read_committed": [prediction(0), prediction(1)]}
    assert unlike("ours", [(0, 0), (0, 1)], seen) == []


def test_each_difference_is_said_with_its_consumer() -> None:
    seen = {
        "read_uncommitted": [prediction(0), prediction(0), prediction(1)],
        "read_committed": [prediction(0), prediction(1, 0.75), prediction(7)],
    }
    assert unlike("ours", [(0, 0), (0, 1), (0, 2)], seen) == [
        "ours: a read_uncommitted consumer did not see the predictions of 1 of 3 actions, the first at (partition, offset) (0, 2)",
        "ours: a read_uncommitted consumer saw twice the predictions of 1 of 3 actions, the first at (partition, offset) (0, 0)",
        "ours: a read_committed consumer did not see the predictions of 1 of 3 actions, the first at (partition, offset) (0, 2)",
        "ours: a read_committed consumer saw, though they were not sent, the predictions of 1 of 3 actions,"
        " the first at (partition, offset) (0, 7)",
        "ours: a read_committed consumer saw otherwise than another consumer the predictions of 1 of 3 actions,"
        " the first at (partition, offset) (0, 1)",
    ]
