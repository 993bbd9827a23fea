from __future__ import annotations

import operator
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from infra.contracts.in_effect import of_files
from jobs.archive_columns import COLUMNS, ENVELOPE
from jobs.audit.answers import answers, rescore
from jobs.audit.rows import Compared, Side, compare, typed_rows, whose
from jobs.audit.topic_log import Step, archived_step
from jobs.published_models import Identity
from jobs.scoring_path import Model
from lakehouse.iceberg import arrow_schema
from lakehouse.tables import declared

CONTRACT = of_files()
SIDE = Side("predictions", "predictions", 3, 100)
MODEL = {"name": "m", "version": "1", "sha256": "0" * 64}


def prediction(offset: int, **data: object) -> bytes:
    event = {"eventType": "Prediction", "eventId": "e", "timestamp": "2024-01-01T00:00:00Z", "version": 1, "source": "s"}
    told = {"actionId": "a", "actionPartition": 0, "actionOffset": offset, "userId": "u", "score": 0.5, "decision": True}
    return orjson.dumps(event | {"correlationId": "c", "data": told | {"model": MODEL, "features": [1.0, 2.0], "flags": []} | data})


def step(offsets: list[int], values: list[bytes | None] | None = None) -> Step:
    values = [prediction(offset) for offset in offsets] if values is None else values
    keys = pa.array([b"k"] * len(offsets), pa.large_binary())
    times = np.full(len(offsets), 1_704_067_200_000)
    return Step(np.array(offsets, np.int64), times, keys, pa.array(values, pa.large_binary()), values, None)


def table(of: Step) -> pa.Table:
    typed = typed_rows("predictions", of, CONTRACT)
    columns: dict[str, Any] = {name: [row.get(name) for row in typed] for name in (*ENVELOPE, *COLUMNS["predictions"])}
    schema = arrow_schema(declared("predictions"))
    moments = pa.array(of.kafka_ms, pa.timestamp("ms", "UTC")).cast(pa.timestamp("us", "UTC"))
    columns |= {"topic_offset": of.offset, "key": of.key, "value": of.value, "headers": [None] * len(of), "kafka_time": moments}
    columns |= {"event_time": moments, "topic_partition": [3] * len(of)}
    return pa.table({name: pa.array(column, schema.field(name).type) for name, column in columns.items()})


def compared(of: Step, rows: pa.Table) -> list[tuple[str, int | None]]:
    result = Compared()
    compare(SIDE, of, typed_rows("predictions", of, CONTRACT), rows, result)
    found = [(finding.kind, finding.offset) for finding in [*result.findings.kept, *whose(SIDE, result)]]
    return (
        found + [("alien", offset) for offset in result.alien] + [("beyond", offset) for offset in [result.first_beyond][: result.beyond]]
    )


def test_rows_that_are_their_records_are_clean() -> None:
    of = step([3, 4, 7], [prediction(3), None, b"junk"])
    assert compared(of, table(of)) == []
    assert archived_step(table(of)).values == of.values


@pytest.mark.parametrize(
    ("held", "found"),
    [
        ([3, 7], [("dropped_row", 4)]),
        ([3, 4, 4, 7], [("row_twice", 4)]),
        ([3, 4, 5, 7], [("alien", 5)]),
        ([4, 4, 5], [("row_twice", 4), ("dropped_row", 3), ("dropped_row", 7), ("alien", 5)]),
        ([], [("dropped_row", 3), ("dropped_row", 4), ("dropped_row", 7)]),
    ],
)
def test_what_one_side_lacks_is_found(held: list[int], found: list[tuple[str, int]]) -> None:
    assert compared(step([3, 4, 7]), table(step(held))) == found


def test_records_behind_the_last_row_may_still_come() -> None:
    assert compared(step([98, 99, 100, 102]), table(step([98, 99]))) == [("beyond", 100)]


def test_rows_with_each_others_records_are_told_from_rows_with_other_bytes() -> None:
    of, rows = step([3, 4, 7]), table(step([3, 4, 7], [prediction(4), prediction(3), prediction(8)]))
    assert compared(of, rows) == [("swapped_offset", 3), ("swapped_offset", 4), ("changed_value", 7)]


@pytest.mark.parametrize(
    ("held", "from_value", "in_parts", "is_told"),
    [
        ('{"a":1,"b":[{"c":2,"d":3}]}', False, False, False),
        (None, False, False, True),
        (None, True, False, False),
        ('{"a":1}', True, False, True),
        ('{"a":1}', True, True, False),
        ('{"b":[{"d":3}]}', True, True, False),
        ('{"a":2}', True, True, True),
        ('{"e":1}', True, True, True),
        ('{"b":[]}', True, True, True),
        ("[1]", True, True, True),
        ("{", True, True, True),
        ('{"b":[{"d":3,"c":2}],"a":1}', False, True, False),
        ('{"b":[{"d":3,"c":2}],"a":1}', False, False, True),
        ('{"b":[{"d":3}],"a":1}', False, True, True),
        ('{"b":[{"d":3,"c":2}],"a":1,"e":1}', False, True, True),
        ('{"b":[{"d":3,"c":2}],"a":1.0}', False, True, True),
        ('{"a":true}', True, True, True),
        ('{"a":1.0}', True, True, True),
        ('{"a":"1"}', True, True, True),
    ],
)
def test_a_column_may_lack_what_its_archiver_did_not_know(held: str | None, from_value: bool, in_parts: bool, is_told: bool) -> None:
    of, column = step([3]), "model_name"
    rows, typed = table(of), typed_rows("predictions", of, CONTRACT)
    typed[0][column] = '{"a":1,"b":[{"c":2,"d":3}]}'
    rows = rows.set_column(rows.column_names.index(column), column, pa.array([held], pa.string()))
    result = Compared()
    side = replace(SIDE, from_value=frozenset([column] * from_value), in_parts=frozenset([column] * in_parts))
    compare(side, of, typed, rows, result)
    assert [finding.kind for finding in result.findings.kept] == [f"changed_{column}"] * is_told


@pytest.mark.parametrize(("held", "is_told"), [('{"a":2,"b":0}', False), ('{"a":2}', False), ('{"a":3}', True), ('{"b":false}', True)])
def test_a_whole_number_is_that_number_where_a_part_became_any_number(held: str, is_told: bool) -> None:
    of, column = step([3]), "model_name"
    rows, typed = table(of), typed_rows("predictions", of, CONTRACT)
    typed[0][column] = '{"a":2.0,"b":0.0}'
    rows = rows.set_column(rows.column_names.index(column), column, pa.array([held], pa.string()))
    result = Compared()
    compare(replace(SIDE, from_value=frozenset([column]), in_parts=frozenset([column])), of, typed, rows, result)
    assert [finding.kind for finding in result.findings.kept] == [f"changed_{column}"] * is_told


def tenths(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(x[:, 0] * np.float32(0.1), np.float32)


TENTHS = Model("m", "1", "0" * 64, 0.5, ("action:a", "action:b"), lambda _, n: np.zeros((n, 2), np.float32), tenths, operator.eq)


def test_scores_are_made_again_bit_by_bit() -> None:
    again = float(np.float32(np.float32(7) * np.float32(0.1)))
    values = [
        prediction(0, features=[7.0, 0.0], score=again),
        prediction(1, features=[7.0, 0.0], score=float(np.nextafter(np.float32(again), np.float32(1)))),
        prediction(2, features=[7.0, 0.0], score=again, decision=False),
        prediction(3, features=[7.0]),
        prediction(4, features=[7.0, None]),
        prediction(5, model=MODEL | {"name": "gone"}),
        b"junk",
    ]
    of = step(list(range(7)), list(values))
    models: dict[Identity, Model | str] = {("m", "1", "0" * 64): TENTHS, ("gone", "1", "0" * 64): "no such model"}
    findings = rescore(3, of, typed_rows("predictions", of, CONTRACT), models.__getitem__)
    kinds = {(finding.offset, finding.kind) for finding in findings}
    unusable = {(offset, "unusable_features") for offset in (3, 4)}
    assert kinds == {(1, "changed_score"), (2, "changed_decision"), *unusable, (5, "unknown_model")}


def test_answers_name_their_actions_and_those_that_name_none_are_found() -> None:
    of = step([3, 4, 7], [prediction(30), b"junk", prediction(70, actionPartition=2)])
    rows, findings = answers("predictions", 3, of, typed_rows("predictions", of, CONTRACT))
    assert rows[["action_partition", "offset", "partition", "lies_at"]].tolist() == [(0, 30, 3, 3), (2, 70, 3, 7)]
    assert [(finding.kind, finding.offset) for finding in findings] == [("unreadable_answer", 4)]
