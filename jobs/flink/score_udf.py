"""The scoring path as one vectorised UDF: lifts batches of records into `jobs.scoring_path.answer`."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyflink.table import DataTypes
from pyflink.table.udf import FunctionContext, ScalarFunction, udf

from infra.clock import system_clock
from infra.config import Settings, load_settings
from infra.contracts.framing import frame
from jobs.offset_ranges import Ranges, holds

if TYPE_CHECKING:
    from jobs.records import Records, Rules
    from jobs.schema_ids import SchemaIds
    from jobs.scoring_path import Enrich, Model

log = logging.getLogger(__name__)

RESULT = DataTypes.ROW(
    [
        DataTypes.FIELD("is_prediction", DataTypes.BOOLEAN()),
        DataTypes.FIELD("record_key", DataTypes.BYTES()),
        DataTypes.FIELD("record_value", DataTypes.BYTES()),
    ]
)


class AnswerRecords(ScalarFunction):
    """One worker: a model, a Redis connection and the leases of the partitions that it reads.

    The model's name comes from who submits the job; the rest of the settings are those of the cluster that the worker runs in.
    """

    _schema_ids: SchemaIds
    _rules: Rules
    _model: Model
    _enrich: Enrich

    def __init__(self, model_name: str, answered: Mapping[int, Ranges], schema_id: int | None) -> None:
        self._model_name, self._answered, self._schema_id = model_name, dict(answered), schema_id

    def open(self, function_context: FunctionContext) -> None:
        """Load the model and connect; never at import, never in the client."""
        from infra.contracts.changes import Changes, Followed
        from jobs.schema_ids import SchemaIds
        from jobs.scoring_parts import SOURCE_TOPIC, enricher, model, rules

        here = load_settings()
        settings = replace(here, score_events=replace(here.score_events, model=self._model_name))
        self._schema_ids = SchemaIds(settings, SOURCE_TOPIC, system_clock, time.sleep)
        self._rules, self._model = rules(Followed(Changes(settings)), self._schema_ids), model(settings)
        self._enrich = enricher(settings, time.sleep, self._rules)
        gc.collect()
        gc.freeze()  # what start-up left is never garbage; a full collection over it takes tens of milliseconds

    def eval(
        self,
        keys: pd.Series[Any],
        values: pd.Series[Any],
        partition: pd.Series[Any],
        offset: pd.Series[Any],
        kafka_ms: pd.Series[Any],
        replays: pd.Series[Any],
    ) -> pd.DataFrame:
        """Answer one batch. Columns: bytes, bytes, int32, int64, int64, bytes; all of the batch's length."""
        from jobs.records import Records
        from jobs.scoring_path import answer

        records = Records(
            keys.tolist(),
            values.tolist(),
            partition.to_numpy(np.int64),
            offset.to_numpy(np.int64),
            kafka_ms.to_numpy(np.int64),
            replays.tolist(),
        )
        self._schema_ids.decide(records)
        answers = answer(records, self._rules, self._enrich, self._model, system_clock())
        is_prediction = pd.Series(answers.is_prediction, dtype=object)
        is_prediction[published(records, self._answered)] = None
        framed = answers.values
        if self._schema_id is not None:
            pairs = zip(framed, answers.is_prediction, strict=True)
            framed = [frame(self._schema_id, value) if is_prediction else value for value, is_prediction in pairs]
        return pd.DataFrame({"is_prediction": is_prediction, "record_key": answers.keys, "record_value": framed})


def published(records: Records, answered: Mapping[int, Ranges]) -> NDArray[np.bool_]:
    """For each record whether its answer was published by an earlier run: it is folded as any other, and not answered twice."""
    held = np.zeros(len(records.offset), bool)
    for partition, ranges in answered.items():
        there = np.flatnonzero(records.partition == partition)
        held[there] = holds(ranges, records.offset[there])
    return held


def answer_records(settings: Settings, answered: Mapping[int, Ranges], schema_id: int | None) -> Any:  # noqa: ANN401 - a pyflink wrapper
    """The UDF; deterministic for the planner, since asked twice about a record it answers the same.

    `answered`: as in jobs.begin; `schema_id`: that predictions are framed with, known here so that no worker needs the registry for it.
    """
    return udf(AnswerRecords(settings.score_events.model, answered, schema_id), result_type=RESULT, func_type="pandas", deterministic=True)
