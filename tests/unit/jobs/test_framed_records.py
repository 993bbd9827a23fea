"""Framed records are accepted as the plain ones that stand in them, each by what was decided for its own place."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from infra.contracts.decisions import NOTHING, Decisions, Known, Unknown
from infra.contracts.framing import AVRO, JSON, WriterSchema, frame
from infra.contracts.load import FOLDER
from infra.contracts.partitioner import partition_of
from jobs.archive_rows import archive_row
from jobs.audit.rows import _as_archived, typed_rows
from jobs.audit.topic_log import Step
from jobs.dead_letter import dead_letter
from jobs.framed_records import plain_at
from jobs.records import Records
from jobs.scoring_parts import rules
from jobs.scoring_path import accept
from tests.unit.contracts.test_framing import AN_ACTION, USER_ACTION, written

ACTIONS = "user-actions"
HOME = partition_of("user_0001", 4)
NOW = 1_710_325_333_000
PLAIN = json.dumps(AN_ACTION | {"timestamp": "2024-03-13T10:22:12.345Z"}).encode()
BY_JSON, BY_AVRO = frame(3, PLAIN), frame(7, written(USER_ACTION, AN_ACTION))
SCHEMAS = {3: WriterSchema(JSON, "{}"), 7: WriterSchema(AVRO, json.dumps(USER_ACTION))}
VALUES = [PLAIN, BY_JSON, BY_AVRO, None, b"", b"\0", b"\0\0\0\0\7", frame(7, b"\2"), frame(3, b"[]"), frame(8, PLAIN), b"no json"]


def records(values: list[bytes | None], first: int = 0) -> Records:
    n = len(values)
    return Records([b"k"] * n, values, np.full(n, HOME), np.arange(first, first + n), np.full(n, NOW))


def decided(*known: tuple[int, int]) -> Decisions:
    decisions = NOTHING
    for schema_id, from_offset in known:
        decisions = decisions.after(Known(ACTIONS, HOME, from_offset, schema_id, SCHEMAS[schema_id]))
    return decisions


@given(st.lists(st.sampled_from(VALUES), max_size=12), st.integers(0, 12), st.integers(0, 12))
def test_a_batch_is_accepted_as_its_plain_records_are(values: list[bytes | None], json_from: int, avro_from: int) -> None:
    schemas = decided((3, json_from), (7, avro_from)).after(Unknown(ACTIONS, HOME, 99))
    accepted, refused = accept(records(values), replace(rules(), schemas=schemas))
    for i, value in enumerate(values):
        plain = plain_at(schemas, ACTIONS, HOME, i, value)
        if value in (BY_JSON, BY_AVRO):
            assert isinstance(plain, bytes) == (i >= (json_from if value == BY_JSON else avro_from))
        if plain is None or isinstance(plain, bytes):
            one, why = accept(records([plain], i), rules())
            assert why.get(0) == refused.get(i)
            assert one.events == [event for event, at in zip(accepted.events, accepted.position.tolist(), strict=True) if at == i]
        else:
            assert refused[i] == plain
    assert sorted([*refused, *accepted.position.tolist()]) == list(range(len(values)))


def test_the_dead_letter_holds_the_framed_bytes_whole() -> None:
    some = records([frame(8, PLAIN)])
    _, refused = accept(some, rules())
    _, letter = dead_letter(some, 0, rules(), refused[0], NOW)
    data = json.loads(letter)["data"]
    assert data["error"]["reason"] == "unknown_schema"
    assert base64.b64decode(data["originalBytes"]) == frame(8, PLAIN)
    assert data["originalEvent"] is None


def test_typed_columns_of_a_decision_are_what_it_says() -> None:
    rows = [
        archive_row("schema-ids", (FOLDER / f"examples/schema-ids/valid/{name}.json").read_bytes(), NOW, rules().contract)
        for name in ("avro", "unknown")
    ]
    wanted = ("event_type", "source_topic", "source_partition", "from_offset", "until_offset", "schema_id", "schema_type")
    assert [[row[name] for name in wanted] for row in rows] == [
        ["SchemaIdKnown", ACTIONS, 1, 120, None, 7, "AVRO"],
        ["SchemaIdsUnknown", ACTIONS, 1, None, 118, None, None],
    ]


def test_a_framed_row_was_archived_with_its_columns_or_before_its_id_was_decided() -> None:
    values: list[bytes | None] = [BY_AVRO, PLAIN, BY_AVRO, frame(8, PLAIN)]
    plain: list[bytes | None] = [PLAIN, PLAIN, PLAIN, None]
    none = pa.nulls(4, pa.large_binary())
    step = Step(np.arange(4), np.full(4, NOW), none, none, values, None)
    typed = typed_rows(ACTIONS, replace(step, values=plain), rules().contract)
    assert [row.get("user_id") for row in typed] == ["user_0001", "user_0001", "user_0001", None]
    rows = pa.table({"event_type": pa.array([None, None, "UserAction", None], pa.string())})
    expected = _as_archived(step, typed, rows)
    assert [row.get("user_id") for row in expected] == [None, "user_0001", "user_0001", None]
    assert expected[0] == {"event_ms": NOW}
