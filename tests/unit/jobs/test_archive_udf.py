"""Whatever lies on a topic becomes a row of the archive: bytes, headers and times pass, typed columns are null where nothing fits."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pyarrow as pa
import pytest
from pyflink.table.types import RowType, to_arrow_type
from pyflink.table.utils import arrow_to_pandas, pandas_to_arrow

from infra.contracts.columns import field_columns
from infra.contracts.in_effect import of_files
from infra.contracts.load import FOLDER, load_contracts
from jobs.archive_columns import ARCHIVED, COLUMNS, ENVELOPE, EVENT_TOPICS, LETTER_TOPICS, flink_type
from jobs.archive_rows import Headers
from jobs.flink.archive_udf import PASSED, ArchiveRecords, result, typed_columns
from lakehouse.tables import declared
from tests.evolved import action, own, with_field

KAFKA_MS = 1_710_325_333_000
PREDICTION = (FOLDER / "examples/predictions/valid/known-user.json").read_text("utf-8")
LETTER = (FOLDER / "examples/user-actions-dlq/valid/refused-again.json").read_text("utf-8")
NOTE = (FOLDER / "examples/user-actions-replays/valid/replayed.json").read_text("utf-8")
ACTION = (FOLDER / "examples/user-actions/valid/purchase.json").read_text("utf-8")
ORDER = (FOLDER / "examples/orders/valid/order-placed.json").read_text("utf-8")
TOPICS = {"predictions": PREDICTION, "user-actions-dlq": LETTER, "user-actions-replays": NOTE, "user-actions": ACTION}
SHOP = {**dict.fromkeys(EVENT_TOPICS, ORDER), **dict.fromkeys(LETTER_TOPICS, LETTER)}
ALL = {**TOPICS, **SHOP}
CAUSE = "5a3f0c11-0001-8000-8000-000000000007"
HEADERS: Headers = {"causation-id": CAUSE.encode(), "aggregate-version": b"7"}
Record = tuple[str, bytes | None, Headers]


def typed(job: str) -> dict[str, dict[str, str]]:
    return {topic: COLUMNS[topic] for topic in ARCHIVED[job]}


def archived(records: list[Record], job: str = "archive_topics", key: bytes | None = b"order_0001") -> list[dict[str, Any]]:
    """The rows of one batch, through Arrow on the way in and out, as a worker makes them."""
    made = result(typed(job))
    passed = RowType([made.fields[i] for i in range(len(PASSED))])
    columns: dict[str, list[Any]] = {
        "topic": [topic for topic, _, _ in records],
        "topic_partition": [0] * len(records),
        "topic_offset": list(range(len(records))),
        "record_key": [key] * len(records),
        "record_value": [value for _, value, _ in records],
        "header_names": [list(headers) for _, _, headers in records],
        "header_values": [list(headers.values()) for _, _, headers in records],
        "kafka_ms": [KAFKA_MS] * len(records),
    }
    incoming = pa.RecordBatch.from_arrays(
        [pa.array(columns[name], to_arrow_type(kind)) for name, kind in PASSED.items()], names=list(PASSED)
    )
    function = pickle.loads(pickle.dumps(ArchiveRecords(typed(job))))  # as it travels to its worker
    function.open(None)
    function._contract = of_files()  # no broker is here that could announce another
    answer = function.eval(*arrow_to_pandas(None, passed.field_types(), [incoming]))
    schema = pa.schema([pa.field("f0", to_arrow_type(made))])
    rows: list[dict[str, Any]] = pandas_to_arrow(schema, None, [made], [answer]).to_pylist()
    return [row["f0"] for row in rows]


def job_of(topic: str) -> str:
    (job,) = [job for job, topics in ARCHIVED.items() if topic in topics]
    return job


def with_value(topic: str, path: str, number: str) -> bytes:
    """The topic's valid example with another JSON value at `path`."""
    document = json.loads(ALL[topic])
    *above, last = path.split(".")
    part = document
    for name in above:
        part = part[name]
    part[last] = "@@"
    return json.dumps(document).replace('"@@"', number).encode()


INT = ["2147483648", "-2147483649", "1099511627776", "18446744073709551616", "1" * 5000, "1.5", "1e400", "null", '"1"']
BIGINT = ["9223372036854775808", "-9223372036854775809", "18446744073709551616", "1" * 5000, "1e400"]
FLOAT = ["3.5e38", "-3.4028235e39", "1e308", "1e400", "1" * 60, "1" * 5000, "NaN", "Infinity", '"NaN"']
TEXT = ['"\\ud800"', '"\\udc00x"', "7", '"\x01"']
HOSTILE = {
    ("predictions", "version"): INT,
    ("predictions", "data.actionPartition"): INT,
    ("predictions", "data.actionOffset"): BIGINT,
    ("predictions", "data.score"): [*FLOAT, "null", "true"],
    ("predictions", "data.features"): [*(f"[0.5, {number}]" for number in FLOAT), "[[1]]", "null", "{}"],
    ("predictions", "data.flags"): [*(f"[{text}]" for text in TEXT), "[null]"],
    ("predictions", "data.userId"): TEXT,
    ("predictions", "timestamp"): ['"2024-03-13T10:22:12"', '"10000-01-01T00:00:00Z"', "1e400", "1" * 5000],
    ("predictions", "data.ignored"): ["[" * 300 + "]" * 300],
    ("user-actions-dlq", "version"): INT,
    ("user-actions-dlq", "data.retryCount"): INT,
    ("user-actions-dlq", "data.sourcePartition"): INT,
    ("user-actions-dlq", "data.sourceOffset"): BIGINT,
    ("user-actions-dlq", "data.originalPartition"): [number for number in INT if number != "null"],
    ("user-actions-dlq", "data.originalOffset"): BIGINT,
    ("user-actions-dlq", "data.error.message"): TEXT,
    ("user-actions-replays", "data.letterPartition"): INT,
    ("user-actions-replays", "data.replayOffset"): BIGINT,
    ("user-actions-replays", "data.edited"): ["0", '"false"', "[]"],
    ("user-actions", "version"): INT,
    ("orders", "version"): INT,
    ("orders", "data"): ["7", "null", '"text"', "[]", "{", "NaN", '{"a": 01}', "[" * 300 + "]" * 300],
    ("inventory", "eventType"): TEXT,
    ("accounts", "timestamp"): ['"2024-03-13T10:22:12"', "0"],
    ("order-commands-dlq", "data.sourceOffset"): BIGINT,
    ("account-commands-dlq", "data.error.message"): TEXT,
}


@pytest.mark.parametrize(("topic", "path"), HOSTILE, ids=lambda part: part)
def test_what_no_column_holds_leaves_the_typed_columns_null(topic: str, path: str) -> None:
    values = [with_value(topic, path, number) for number in HOSTILE[topic, path]]
    good = ALL[topic].encode()
    rows = archived([(topic, value, HEADERS) for value in [good, *values, good]], job_of(topic))
    typed = [*ENVELOPE, *COLUMNS[topic]]
    for value, row in zip(values, rows[1:-1], strict=True):
        assert row["record_value"] == value
        assert row["event_ms"] == KAFKA_MS
        assert {name: row[name] for name in typed} == dict.fromkeys(typed), value[:400]
    for row in (rows[0], rows[-1]):
        assert all(row[name] is not None for name in typed)


@pytest.mark.parametrize(
    ("topic", "path", "number", "column", "expected"),
    [
        ("predictions", "version", "-2147483648", "event_version", -(2**31)),
        ("predictions", "data.actionOffset", "9223372036854775807", "action_offset", 2**63 - 1),
        ("predictions", "data.score", "3.4028234663852886e38", "score", 3.4028234663852886e38),
        ("predictions", "data.score", "1e-60", "score", 0.0),
        ("predictions", "data.features", "[null, -3.4028234663852886e38, 7]", "features", [None, -3.4028234663852886e38, 7.0]),
        ("predictions", "data.features", "[]", "features", []),
        ("predictions", "data.userId", '"\\u0000"', "user_id", "\0"),
        ("user-actions-dlq", "data.sourceOffset", "-9223372036854775808", "source_offset", -(2**63)),
    ],
)
def test_the_last_value_that_a_column_holds_is_archived(topic: str, path: str, number: str, column: str, expected: object) -> None:
    assert archived([(topic, with_value(topic, path, number), {})])[0][column] == expected


@pytest.mark.parametrize("topic", ALL)
@pytest.mark.parametrize("timestamp", ["9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+01:00", "1969-12-31T23:59:59Z"])
def test_a_time_outside_the_window_is_archived_at_kafkas(topic: str, timestamp: str) -> None:
    assert archived([(topic, with_value(topic, "timestamp", f'"{timestamp}"'), {})], job_of(topic))[0]["event_ms"] == KAFKA_MS


def test_every_archived_topic_is_archived_by_one_job() -> None:
    names = [topic for topics in ARCHIVED.values() for topic in topics]
    assert sorted(names) == sorted(COLUMNS) == sorted(topic.name for topic in load_contracts().topics.values() if topic.table is not None)
    for topic in names:
        assert [column.name for column in declared(load_contracts().topics[topic].archive).columns[7:]] == [*ENVELOPE, *COLUMNS[topic]]
    assert not {"aggregate_id", "data"} & set(typed_columns(typed("archive_topics")))


def test_fields_that_a_contract_gained_are_written_in_their_types(monkeypatch: pytest.MonkeyPatch) -> None:
    """`score` is also a column of predictions, of another type, and `source` one of every table."""
    contracts = own()
    fields: dict[str, dict[str, Any]] = {
        "score": {"type": "integer"},
        "basket": {"type": "integer", "minimum": 0, "maximum": 9},
        "seen": {"type": "string", "format": "date-time"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "weights": {"type": "array", "items": {"type": "number"}},
        "source": {"type": "string"},
    }
    for name, schema in fields.items():
        contracts = with_field(contracts, name, schema)
    columns = field_columns(contracts.schemas, contracts.topics["user-actions"])
    kinds = {column.name: flink_type(column.type) for column in columns}
    monkeypatch.setattr("jobs.flink.archive_udf.FIELDS", columns)
    monkeypatch.setitem(COLUMNS, "user-actions", kinds)
    monkeypatch.setattr("infra.contracts.in_effect.load_contracts", lambda: contracts)
    said: dict[str, Any] = {"score": 5, "basket": 2, "seen": "2024-03-13T10:22:12Z", "tags": ["a"], "weights": [1, 0.5], "source": "app"}
    rows = archived([("user-actions", action(**said), {}), ("predictions", PREDICTION.encode(), {}), ("user-actions", action(), {})])
    assert {name: rows[0][name] for name in ("score_of_user_actions", "basket", "seen", "tags", "weights", "data_source", "source")} == {
        **{"score_of_user_actions": 5, "basket": 2, "seen": 1_710_325_332_000, "tags": ["a"], "weights": [1.0, 0.5], "data_source": "app"},
        "source": "test",
    }
    assert rows[1]["score_of_predictions"] == pytest.approx(json.loads(PREDICTION)["data"]["score"])
    assert (rows[2]["score_of_user_actions"], rows[2]["tags"]) == (None, None)


def test_a_number_past_the_column_that_the_job_began_with_stays_in_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    contracts = with_field(own(), "basket", {"type": "integer"})
    columns = field_columns(contracts.schemas, contracts.topics["user-actions"])
    monkeypatch.setattr("jobs.flink.archive_udf.FIELDS", columns)
    monkeypatch.setitem(COLUMNS, "user-actions", {**COLUMNS["user-actions"], "basket": "INT"})
    monkeypatch.setattr("infra.contracts.in_effect.load_contracts", lambda: contracts)
    rows = archived([("user-actions", action(basket=2**31 - 1), {}), ("user-actions", action(basket=2**31), {})])
    assert [(row["basket"], row["user_id"]) for row in rows] == [(2**31 - 1, "user_0001"), (None, "user_0001")]


@pytest.mark.parametrize("topic", EVENT_TOPICS)
def test_an_event_is_archived_by_its_key_its_headers_and_its_own_text(topic: str) -> None:
    value = ORDER.replace('"Zo', '"Z\\u00f6o').encode()
    (row,) = archived([(topic, value, HEADERS)], "archive_shop")
    assert (row["aggregate_id"], row["aggregate_version"], row["causation_id"]) == ("order_0001", 7, CAUSE)
    assert row["data"].encode() == value[value.index(b'"data": ') + 8 : value.rindex(b"}")].strip()
    assert (row["event_type"], row["event_version"]) == ("OrderPlaced", 1)


@pytest.mark.parametrize("number", [None, b"", b"0x7", b"-1", b"7 ", b"\xb2", b"9223372036854775808", b"1" * 5000])
def test_a_header_that_is_no_version_leaves_that_column_alone_null(number: bytes | None) -> None:
    headers: list[Headers] = [{"aggregate-version": number, "causation-id": b"\xff"}, {"aggregate-version": b"9223372036854775807"}, {}]
    rows = archived([("payments", ORDER.encode(), head) for head in headers], "archive_shop", key=b"\xff")
    assert [row["aggregate_version"] for row in rows] == [None, 2**63 - 1, None]
    assert [(row["causation_id"], row["aggregate_id"], row["event_type"]) for row in rows] == [(None, None, "OrderPlaced")] * 3


@pytest.mark.parametrize("job", ARCHIVED)
def test_bytes_and_headers_pass_whatever_they_are(job: str) -> None:
    headers: list[Headers] = [
        {},
        {"": b""},
        {"name": None, "other": b"\xff\xfe\x00"},
        {"\ufffd\U0001f600\0": b"x" * 1_000_000, "n" * 100_000: b"1", "same length": b"2"},
        {str(i): None for i in range(1000)},
    ]
    values = [None, b"", b"\xff" * 1_000_000, b"[" * 100_000, b"\x00"]
    records = [(topic, value, head) for topic in ARCHIVED[job] for value, head in zip(values, headers, strict=True)]
    for (topic, value, head), row in zip(records, archived(records, job), strict=True):
        assert (row["topic"], row["record_value"]) == (topic, value)
        assert dict(zip(row["header_names"], row["header_values"], strict=True)) == head
        assert row["event_type"] is None
