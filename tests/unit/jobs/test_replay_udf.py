"""What pandas makes of joined rows reaches the replay as the table holds it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from jobs.flink.replay_udf import COLUMNS, RESULT, ReplayJoined, lists


def test_lists_are_those_of_the_table() -> None:
    arrays = [np.array([1, 2.5], np.float32), None, np.array([], np.float32), np.array([np.nan, 3], np.float32)]
    assert lists(arrays).to_pylist() == [[1.0, 2.5], None, [], [None, 3.0]]
    assert lists([]).to_pylist() == []
    assert lists([None, None]).to_pylist() == [None, None]


def test_rows_without_an_action_or_a_prediction_are_told_apart() -> None:
    replay = ReplayJoined(batch=10)
    replay.open(None)
    none = [None] * 3
    columns = {name: pd.Series(none, dtype=object) for name in COLUMNS}
    columns |= {
        "action_partition": pd.Series([2, 0, 2], dtype=np.int32),
        "action_offset": pd.Series([7, 5, 6]),
        "action_number": pd.Series([1, 0, 1]),
        "prediction_number": pd.Series([1, 1, 0]),
        "action_value": pd.Series([b"no json", None, None], dtype=object),
        "kafka_ms": pd.Series([0, 0, 0]),
        "score": pd.Series([0.5, 0.25, np.nan], dtype=np.float32),
        "decision": pd.Series([True, False, False]),
        **{name: pd.Series(["m", "m", None], dtype=object) for name in ("model_name", "model_version", "model_sha256")},
    }
    rows = replay.eval(*columns.values())
    assert list(rows.columns) == [field.name for field in RESULT.fields]
    assert rows["code"].tolist() == ["refused+action", "action", "refused"]
    assert rows["action_offset"].tolist() == [7, 5, 6]
    assert rows["model"].tolist() == none
    assert "a prediction of 0.25" in rows["detail"][1]
    assert rows["detail"][2] is None
