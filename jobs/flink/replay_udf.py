"""The replay as one vectorised UDF: lifts batches of joined rows into `jobs.replay.joined.replay_joined`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyflink.table import DataTypes
from pyflink.table.udf import FunctionContext, ScalarFunction, udf

from infra.config import load_settings

if TYPE_CHECKING:
    from jobs.published_models import PublishedModels
    from jobs.records import Rules
    from jobs.replay.joined import First

COLUMNS = (
    "action_partition",
    "action_offset",
    "action_number",
    "prediction_number",
    "action_value",
    "kafka_ms",
    "action_id",
    "user_id",
    "score",
    "decision",
    "model_name",
    "model_version",
    "model_sha256",
    "features",
)
"""What the UDF takes, in this order. None of the numbers may be null: pandas would make floats of them."""

RESULT = DataTypes.ROW(
    [
        DataTypes.FIELD("action_partition", DataTypes.INT()),
        DataTypes.FIELD("action_offset", DataTypes.BIGINT()),
        DataTypes.FIELD("code", DataTypes.STRING()),
        DataTypes.FIELD("model", DataTypes.STRING()),
        DataTypes.FIELD("detail", DataTypes.STRING()),
    ]
)


class ReplayJoined(ScalarFunction):
    """One worker: the models that predictions name, and which differences it has told. `batch`: rows in one call of a model."""

    _rules: Rules
    _models: PublishedModels
    _first: First

    def __init__(self, batch: int) -> None:
        self._batch = batch

    def open(self, function_context: FunctionContext) -> None:
        """Read the contracts; models are loaded once a prediction names them."""
        from jobs.contract_history import in_effect
        from jobs.published_models import PublishedModels
        from jobs.replay.joined import First
        from jobs.schema_history import decisions
        from jobs.scoring_parts import models_folder, rules

        settings = load_settings()
        self._rules, self._first = rules(in_effect(settings), decisions(settings)), First()
        self._models = PublishedModels(models_folder(settings))

    def eval(self, *columns: pd.Series[Any]) -> pd.DataFrame:
        """One batch: `COLUMNS` in, the row out."""
        from jobs.replay.joined import Joined, replay_joined

        given = dict(zip(COLUMNS, columns, strict=True))
        numbers = {name: given[name].to_numpy(np.int64) for name in (*COLUMNS[:4], "kafka_ms")}
        predictions = pa.table(
            {
                "action_partition": numbers["action_partition"],
                "action_offset": numbers["action_offset"],
                "score": given["score"].to_numpy(np.float32),
                "decision": given["decision"].to_numpy(bool),
                "features": lists(given["features"].tolist()),
                **{name: pa.array(given[name].tolist(), pa.string()) for name in ("action_id", "user_id", *COLUMNS[10:13])},
            }
        )
        partition, offset, action, prediction, kafka_ms = numbers.values()
        rows = Joined(partition, offset, action, prediction, given["action_value"].tolist(), kafka_ms, predictions)
        coded = replay_joined(rows, self._rules, self._models.find, self._batch, self._first)
        return pd.DataFrame(
            {
                "action_partition": numbers["action_partition"],
                "action_offset": numbers["action_offset"],
                "code": coded.code,
                "model": pd.Series(coded.model, dtype=object),
                "detail": pd.Series(coded.detail, dtype=object),
            }
        )


def lists(arrays: list[Any]) -> pa.Array:
    """Lists of float32 out of what pandas makes of them. It says NaN for a number that is missing; JSON knows no other NaN."""
    lengths = [0 if array is None else len(array) for array in arrays]
    filled = [np.asarray(array, np.float32) for array in arrays if array is not None]
    values = pa.array(np.concatenate(filled) if filled else np.zeros(0, np.float32), pa.float32(), from_pandas=True)
    ends = np.r_[0, np.cumsum(lengths)].astype(np.int32)
    missing = np.array([array is None for array in arrays], bool)
    return pa.ListArray.from_arrays(pa.array(ends), values, mask=pa.array(missing))


def replay_rows(batch: int) -> Any:  # noqa: ANN401 - a pyflink wrapper
    """The UDF."""
    return udf(ReplayJoined(batch), result_type=RESULT, func_type="pandas", deterministic=True)
