"""A field that a contract gained is a column at once: rows that hold it in their bytes alone are read as those that have it."""

from __future__ import annotations

import copy
import datetime as dt
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import DataScan, FileScanTask, Table

from infra.config import Settings, load_settings
from infra.contracts.contract import Contracts
from infra.contracts.decisions import Known, Unknown, write_decision
from infra.contracts.framing import WriterSchema, frame
from lakehouse import migrate
from lakehouse.archives import of_actions
from lakehouse.catalog import load_table, open_catalog
from lakehouse.errors import LakehouseError
from lakehouse.picked import picked
from lakehouse.query import query
from lakehouse.read import LogPlan, plan_log, read, read_batches, read_log, read_planned, snapshot
from lakehouse.table import FROM_VALUE
from lakehouse.tables import TABLES
from tests.evolved import TEXT, action, own, with_field, with_version
from tests.lake import put_records

COUNT = {"type": "integer", "minimum": 0, "maximum": 1000, "description": "How many.", "unit": "count"}
WHEN = {"type": "string", "format": "date-time", "description": "When.", "unit": "UTC"}
TAGS = {"type": "array", "items": {"type": "string"}, "description": "Tags.", "unit": "names"}
PLACE = {"type": "object", "description": "Where.", "unit": "object", "additionalProperties": False, "properties": {}}
SEEN = dt.datetime(2024, 3, 13, 10, 22, 12, tzinfo=dt.UTC)


def applied(lake: Settings, monkeypatch: pytest.MonkeyPatch, contracts: Contracts) -> list[str]:
    """Evolve the table, as `apply` does; what was planned of it."""
    monkeypatch.setitem(TABLES, "user_actions", of_actions(contracts))
    return [change.detail for change in migrate.apply(lake, {"user_actions": TABLES["user_actions"]}) if change.action != "keep"]


def put(lake: Settings, values: list[bytes], first: int, version: int = 1, **columns: Any) -> None:
    """Rows as an archiver writes them that knows the columns that are given."""
    n = len(values)
    put_records(
        lake,
        "user_actions",
        pa.table(
            {
                "topic_partition": pa.array([0] * n, pa.int32()),
                "topic_offset": pa.array(range(first, first + n), pa.int64()),
                "value": values,
                "event_time": [SEEN] * n,
                "kafka_time": [SEEN] * n,
                "event_type": ["UserAction"] * n,
                "event_version": pa.array([version] * n, pa.int32()),
                "user_id": ["user_0001"] * n,
                **columns,
            }
        ),
    )


def told(lake: Settings, *columns: str) -> list[dict[str, Any]]:
    """As `read` says it, which is as `query` says it."""
    rows = read(lake, "user_actions", ["topic_offset", *columns]).sort_by("topic_offset").to_pylist()
    named = ", ".join(f'"{name}"' for name in columns)
    assert query(lake, f"SELECT topic_offset, {named} FROM user_actions ORDER BY topic_offset").to_pylist() == rows
    return [{name: row[name] for name in columns} for row in rows]


def test_a_new_column_holds_what_old_rows_say(lake: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    put(lake, [action(basket=3), action(), action(basket="3"), action(basket=1001), action(basket=None), b"no event"], 0)
    contracts = with_field(own(), "basket", COUNT)
    assert applied(lake, monkeypatch, contracts) == ["add column basket int, read from the values until archive_topics starts again"]
    put(lake, [action(basket=4)], 10)  # by an archiver that was started before
    put(lake, [action(basket=5)], 11, basket=pa.array([5], pa.int32()))
    assert [row["basket"] for row in told(lake, "basket")] == [3, None, None, None, None, None, 4, 5]
    assert query(lake, "SELECT sum(basket) AS n FROM user_actions").to_pylist() == [{"n": 12}]
    assert applied(lake, monkeypatch, contracts) == []


def test_a_record_that_was_refused_has_no_columns(lake: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    put(lake, [action(basket=3)], 0, event_type=pa.array([None], pa.string()))
    applied(lake, monkeypatch, with_field(own(), "basket", COUNT))
    assert told(lake, "basket") == [{"basket": None}]


def test_every_kind_of_value(lake: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, tuple[dict[str, Any], Any, Any]] = {
        "text": (TEXT, "größe", "größe"),
        "small": (COUNT, 7, 7),
        "large": ({"type": "integer"}, 2**62, 2**62),
        "part": ({"type": "number"}, 0.25, 0.25),
        "whole": ({"type": ["number", "integer"]}, 3, 3.0),
        "yes": ({"type": "boolean"}, True, True),
        "seen": (WHEN, "2024-03-13T10:22:12.5+02:00", dt.datetime(2024, 3, 13, 8, 22, 12, 500_000, dt.UTC)),
        "tags": (TAGS, ["a", "b"], ["a", "b"]),
        "ref": ({"type": "string", "format": "uuid"}, "7F9C2B1E-3d4a-4c5b-8e6f-0a1b2c3d4e5f", "7f9c2b1e-3d4a-4c5b-8e6f-0a1b2c3d4e5f"),
        "place": (PLACE, {"city": "Köln"}, '{"city":"Köln"}'),
        "mixed": ({"type": ["string", "integer"]}, 5, "5"),
        "choice": ({"enum": ["red", "blue"]}, "blue", "blue"),
    }
    contracts = own()
    for name, (schema, _, _) in given.items():
        contracts = with_field(contracts, name, {"description": "It.", "unit": "it"} | schema)
    put(lake, [action(**{name: value for name, (_, value, _) in given.items()}), action()], 0)
    applied(lake, monkeypatch, contracts)
    first, second = told(lake, *given)
    assert first == {name: expected for name, (_, _, expected) in given.items()}
    assert set(second.values()) == {None}


def test_a_part_that_came_later_is_read_from_values_whose_column_was_written_without_it(
    lake: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    city, zip_code = ({**TEXT, "description": name} for name in ("City.", "Code."))
    applied(lake, monkeypatch, with_field(own(), "place", {**PLACE, "properties": {"city": city}}))
    values = [action(place={"city": "Bern", "zip": "3000"}), action(place={"city": 5}), action()]
    put(lake, values, 0, place=['{"city":"Bern"}', '{"city":"as it was"}', None])  # by an archiver of this contract
    applied(lake, monkeypatch, with_field(own(), "place", {**PLACE, "properties": {"city": city, "zip": zip_code}}))
    assert [row["place"] for row in told(lake, "place")] == ['{"city":"Bern","zip":"3000"}', '{"city":"as it was"}', None]


def test_one_bad_field_hides_no_other(lake: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    applied(lake, monkeypatch, with_field(with_field(own(), "basket", COUNT), "shade", TEXT))
    put(lake, [action(basket=-1, shade="red"), action(basket=1, shade=["red"])], 0)
    assert told(lake, "basket", "shade") == [{"basket": None, "shade": "red"}, {"basket": 1, "shade": None}]


@pytest.mark.parametrize(
    ("where", "offsets"),
    [
        ("basket > 2", [1, 3]),
        ("basket > 2 and topic_offset < 3", [1]),
        ("basket is null or not basket > 1", [0, 2]),
        ("topic_offset = 3", [3]),
    ],
)
def test_a_filter_sees_what_was_filled_in(lake: Settings, monkeypatch: pytest.MonkeyPatch, where: str, offsets: list[int]) -> None:
    put(lake, [action(basket=1), action(basket=3), action()], 0)
    applied(lake, monkeypatch, with_field(own(), "basket", COUNT))
    put(lake, [action(basket=4)], 3, basket=pa.array([4], pa.int32()))
    for columns in (["topic_offset"], ["topic_offset", "basket"], None):
        assert sorted(read(lake, "user_actions", columns, where)["topic_offset"].to_pylist()) == offsets
        batches = list(read_batches(lake, "user_actions", columns, where))
        assert sorted(offset for batch in batches for offset in batch["topic_offset"].to_pylist()) == offsets
    assert len(read(lake, "user_actions", ["basket"], where, limit=1)) == 1
    assert sorted(query(lake, f"SELECT topic_offset FROM user_actions WHERE {where}")["topic_offset"].to_pylist()) == offsets
    with pytest.raises(LakehouseError, match="expected a filter"):
        read(lake, "user_actions", where="basket >")


def test_a_renamed_field_keeps_its_column_by_id(lake: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    put(lake, [action(platform="desktop")], 0, platform=["desktop"])
    with open_catalog(lake) as catalog:
        before = load_table(catalog, lake, "user_actions").schema().find_field("platform").field_id
    contracts = with_version(own(), {"platform": "device"}, {"country": TEXT}, {"country": "zz"})
    planned = applied(lake, monkeypatch, contracts)
    assert "rename column platform to device" in planned
    with open_catalog(lake) as catalog:
        held = load_table(catalog, lake, "user_actions")
        assert held.schema().find_field("device").field_id == before
        assert "device" in held.properties[FROM_VALUE].split(",")
    put(lake, [action(version=2, platform=..., device="phone", country="de")], 1, version=2, user_id=pa.array([None], pa.string()))
    assert told(lake, "device", "country", "user_id") == [
        {"device": "desktop", "country": "zz", "user_id": "user_0001"},
        {"device": "phone", "country": "de", "user_id": "user_0001"},
    ]
    assert applied(lake, monkeypatch, contracts) == []
    third = with_version(contracts, {"device": "client"}, {}, {})
    assert "rename column device to client" in applied(lake, monkeypatch, third)
    assert [row["client"] for row in told(lake, "client")] == ["desktop", "phone"]


def test_a_type_only_widens(lake: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    applied(lake, monkeypatch, with_field(own(), "basket", COUNT))
    put(lake, [action(basket=3)], 0, basket=pa.array([3], pa.int32()))
    assert applied(lake, monkeypatch, with_field(own(), "basket", COUNT | {"maximum": 2**40})) == [
        "widen basket from int to long",
        "read basket as the contract says now",
    ]
    put(lake, [action(basket=2**40)], 1)
    assert [row["basket"] for row in told(lake, "basket")] == [3, 2**40]
    planned = migrate.plan(lake, {"user_actions": of_actions(with_field(own(), "basket", COUNT))})
    assert [change.detail for change in planned if change.action == "refuse"] == [
        "column basket is long and cannot become int without loss; give it another name"
    ]


def test_a_past_snapshot_is_filled_in_too(lake: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    put(lake, [action(basket=3)], 0)
    past = snapshot(lake, "user_actions")
    applied(lake, monkeypatch, with_field(own(), "basket", COUNT))
    put(lake, [action(basket=4)], 1)
    assert read(lake, "user_actions", ["basket"], snapshot_id=past).to_pylist() == [{"basket": 3}]
    assert read(lake, "user_actions", ["basket"], "basket = 3", snapshot_id=past).to_pylist() == [{"basket": 3}]


def test_a_field_of_a_version_that_ended_stays_a_column(lake: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    applied(lake, monkeypatch, with_field(own(), "basket", COUNT))
    put(lake, [action(basket=3)], 0, basket=pa.array([3], pa.int32()))
    assert applied(lake, monkeypatch, own()) == []
    assert read(lake, "user_actions", ["basket"]).to_pylist() == [{"basket": 3}]


def test_what_was_sent_in_a_version_that_ended_is_read_ever_after(lake: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows were archived before their fields were columns, and no contract file names the version any more."""
    first = with_field(own(), "coupon", TEXT)
    put(lake, [action(coupon="X", platform="tv"), action()], 0)
    second = with_version(first, {"platform": "device"}, {"country": TEXT}, {"country": "CH"})
    applied(lake, monkeypatch, second)
    put(lake, [action(version=2, platform=..., device="phone", country="DE", coupon="Y")], 2, version=2)
    before = told(lake, "device", "coupon", "country")
    topic = second.topics["user-actions"]
    ended = replace(topic, events=topic.events[1:], upcasts={}, deprecations={})
    schemas = {event: schema for event, schema in second.schemas.items() if event != ("UserAction", 1)}
    after = replace(second, topics=dict(second.topics) | {"user-actions": ended}, schemas=schemas)
    for _ in range(2):  # the second time by what the first kept
        applied(lake, monkeypatch, after)
        assert told(lake, "device", "coupon", "country") == before
        assert before[0] == {"device": "tv", "coupon": "X", "country": "CH"}


def test_a_table_that_never_changed_is_read_as_it_lies(lake: Settings) -> None:
    with open_catalog(lake) as catalog:
        assert FROM_VALUE not in load_table(catalog, lake, "user_actions").properties
    put(lake, [action(lifecycle="new")], 0)
    assert told(lake, "lifecycle") == [{"lifecycle": None}]


def test_an_empty_table_answers(lake: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    applied(lake, monkeypatch, with_field(own(), "basket", COUNT))
    assert told(lake, "basket") == []
    assert list(read_batches(lake, "user_actions", ["basket"], "basket > 1")) == []
    assert "basket" in query(lake, "DESCRIBE user_actions")["column_name"].to_pylist()
    assert query(lake, "SHOW TABLES")["name"].to_pylist() == sorted(TABLES)


def test_many_rows_in_bounded_steps(lake: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    values = [json.dumps({"data": {"basket": i % 1000}}).encode() for i in range(45_000)]
    put(lake, values, 0)
    applied(lake, monkeypatch, with_field(own(), "basket", COUNT))
    assert query(lake, "SELECT sum(basket) AS n FROM user_actions").to_pylist() == [{"n": 45 * 499_500}]
    assert sum(read(lake, "user_actions", ["basket"])["basket"].to_pylist()) == 45 * 499_500


def test_no_lake_no_stand_ins(tmp_path: Path) -> None:
    with pytest.raises((LakehouseError, NoSuchTableError)):
        read(load_settings({"STREAMHOUSE_STATE": str(tmp_path)}), "user_actions")


def test_a_limit_that_was_loosened_is_read_from_the_values_of_an_archiver_that_keeps_to_the_old_one(
    lake: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = copy.deepcopy(own())
    longer.schemas["UserAction", 1].document["properties"]["data"]["properties"]["lifecycle"]["maxLength"] = 200
    assert applied(lake, monkeypatch, longer) == ["read lifecycle as the contract says now"]
    put(lake, [action(lifecycle="x" * 150)], 0)
    assert told(lake, "lifecycle") == [{"lifecycle": "x" * 150}]


def decide(lake: Settings, *decided: Known | Unknown) -> None:
    n = len(decided)
    put_records(
        lake,
        "schema_ids",
        pa.table(
            {
                "topic_partition": pa.array([0] * n, pa.int32()),
                "topic_offset": pa.array(range(n), pa.int64()),
                "value": [write_decision(event, "0b9f1d1e-1111-4222-8333-444455556666", 0)[1] for event in decided],
                "event_time": [SEEN] * n,
                "kafka_time": [SEEN] * n,
            }
        ),
    )


def basket_as(kind: str) -> WriterSchema:
    data = {"type": "record", "name": "Data", "fields": [{"name": "basket", "type": kind}]}
    return WriterSchema("AVRO", json.dumps({"type": "record", "name": "UserAction", "fields": [{"name": "data", "type": data}]}))


def test_a_framed_row_is_read_by_the_schema_on_record(lake: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    decide(lake, Known("user-actions", 0, 0, 7, WriterSchema("JSON", "{}")), Known("user-actions", 0, 1, 8, basket_as("long")))
    put(lake, [frame(7, action(basket=3)), frame(8, b"\x08"), frame(9, action(basket=5)), frame(8, b""), action(basket=6)], 0)
    applied(lake, monkeypatch, with_field(own(), "basket", COUNT))
    assert [row["basket"] for row in told(lake, "basket")] == [3, 4, None, None, 6]


def test_an_id_means_at_each_place_what_was_decided_for_it(lake: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that was wiped gives its numbers out anew: partition 1 learned 7 from the new one, behind what it had decided."""
    decide(
        lake,
        Known("user-actions", 0, 2, 7, WriterSchema("JSON", "{}")),
        Known("elsewhere", 1, 0, 7, WriterSchema("JSON", "{}")),
        Unknown("user-actions", 1, 4),
        Known("user-actions", 1, 4, 7, WriterSchema("JSON", "{}")),  # changes nothing: 4 is decided
        Known("user-actions", 1, 5, 7, basket_as("long")),
        Known("user-actions", 1, 6, 7, basket_as("string")),  # nor does this: 7 is known
    )
    places = pa.array([0, 0, 1, 1, 1], pa.int32()), pa.array([1, 2, 4, 5, 6], pa.int64())
    values = [frame(7, action(basket=1)), frame(7, action(basket=2)), frame(7, action(basket=3)), frame(7, b"\x08"), frame(7, b"\x0a")]
    put(lake, values, 0, topic_partition=places[0], topic_offset=places[1])
    applied(lake, monkeypatch, with_field(own(), "basket", COUNT))
    found = query(lake, "SELECT basket FROM user_actions ORDER BY topic_partition, topic_offset").to_pylist()
    assert [row["basket"] for row in found] == [None, 2, None, 4, 5]
    asked = ["basket"], ["basket", "topic_partition", "topic_offset"]
    for columns in asked:
        rows = read(lake, "user_actions", columns).to_pylist()
        assert sorted(row["basket"] for row in rows if row["basket"] is not None) == [2, 4, 5]
    assert read(lake, "user_actions", ["topic_offset"], "basket = 4").to_pylist() == [{"topic_offset": 5}]


TWO = with_version(own(), {"platform": "device"}, {}, {})
NULL = pa.array([None], pa.string())
WHO = ["topic_offset", "user_id"]


def log_of_two_versions(lake: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offsets 0 and 1 in version 1; 2 to 4 in version 2 and 1 by an archiver that knows version 1 alone; 5 was refused; 6 by a new one."""
    put(lake, [action(user="ann"), action(user="bob")], 0, user_id=["ann", "bob"])
    applied(lake, monkeypatch, TWO)
    second = [action(version=2, platform=..., device="phone", user=user) for user in ("ann", "bob")]
    values, users = [*second, action(user="ann")], pa.array([None, None, "ann"], pa.string())
    put(lake, values, 2, user_id=users, event_version=pa.array([2, 2, 1], pa.int32()), key=[b"bob", None, b"ann"])
    put(lake, [action(user="ann", action="no word")], 5, user_id=NULL, event_type=NULL)
    put(lake, [action(version=2, platform=..., device="phone", user="ann")], 6, version=2, user_id=["ann"], device=["phone"])


def planned(lake: Settings, columns: list[str] | None, files_with: str | None = None) -> LogPlan:
    pinned = snapshot(lake, "user_actions")
    assert pinned is not None
    return plan_log(lake, "user_actions", columns, pinned, files_with=files_with)


def test_a_log_holds_what_was_filled_in(lake: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    log_of_two_versions(lake, monkeypatch)
    expected = ["ann", "bob", "ann", "bob", "ann", None, "ann"]
    for columns in (WHO, None, ["user_id", "value", "event_type"]):
        ways = read_log(lake, "user_actions", 0, 0, 10, columns), read_planned(planned(lake, columns), 0, 0, 10)
        for rows in map(pa.Table.from_batches, ways):
            assert rows["user_id"].to_pylist() == expected
            assert rows.column_names == (columns or [column.name for column in TABLES["user_actions"].columns])
    parts = [rows for _, rows in picked(planned(lake, WHO), 0, np.array([0, 3, 5, 6]))]
    assert all(rows.column_names == WHO for rows in parts)
    found = sorted((row["topic_offset"], row["user_id"]) for rows in parts for row in rows.to_pylist())
    assert found == [(0, "ann"), (3, "bob"), (5, None), (6, "ann")]
    (stored,) = read_log(lake, "user_actions", 0, 0, 10, WHO, as_stored=True)
    assert stored["user_id"].to_pylist() == ["ann", "bob", None, None, "ann", None, "ann"]


def test_a_log_is_filled_in_whatever_its_files_are_read_by(lake: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lakehouse.read._OPEN_BYTES", 0)  # as files are read that have no room
    monkeypatch.setattr("lakehouse.picked._OPEN_BYTES", 0)
    log_of_two_versions(lake, monkeypatch)
    rows = pa.Table.from_batches(read_log(lake, "user_actions", 0, 1, 4, WHO))
    assert rows["user_id"].to_pylist() == ["bob", "ann", "bob"]
    assert [rows["user_id"].to_pylist() for _, rows in picked(planned(lake, WHO), 0, np.array([2, 3]))] == [["ann", "bob"]]


def test_a_file_with_deletes_is_filled_in(lake: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    log_of_two_versions(lake, monkeypatch)
    plan = planned(lake, WHO)
    for *_, task in plan.files:
        object.__setattr__(task, "delete_files", {task.file})  # any file: what it deletes is looked up by path, and it names none
    monkeypatch.setattr("pyiceberg.io.pyarrow._read_all_delete_files", lambda *_: {})
    rows = pa.Table.from_batches(read_planned(plan, 0, 1, 4))
    assert (rows.column_names, rows["user_id"].to_pylist()) == (WHO, ["bob", "ann", "bob"])
    assert [rows["user_id"].to_pylist() for _, rows in picked(plan, 0, np.array([2, 3]))] == [["ann", "bob"]]


def test_values_are_read_of_files_alone_whose_rows_may_lack_a_column(lake: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    log_of_two_versions(lake, monkeypatch)
    assert planned(lake, ["topic_offset", "value"]).filling is None
    filling = planned(lake, WHO).filling
    assert filling is not None
    of_old_archiver = {task.file.file_path for _, _, low, _, task in planned(lake, WHO).files if low == 2}
    assert filling.files == of_old_archiver
    added = planned(lake, ["topic_offset", "device"]).filling  # which the first file has under its former name
    assert added is not None
    assert added.files == {task.file.file_path for _, _, low, _, task in planned(lake, WHO).files if low in (0, 2)}


def test_files_are_not_left_out_by_a_column_that_is_filled_in(lake: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    log_of_two_versions(lake, monkeypatch)
    for where in ("user_id = 'bob'", "user_id = 'bob' and event_time > '2020-01-01T00:00:00+00:00'"):
        lows = {low for _, _, low, _, _ in planned(lake, WHO, where).files}
        assert 2 in lows  # whose rows of bob have no user_id
    with pytest.raises(LakehouseError, match="expected columns among"):
        planned(lake, ["user_id", "nobody"])


def test_the_log_of_a_past_snapshot_is_filled_in_too(lake: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    put(lake, [action(basket=3)], 0, platform=["desktop"])
    past = snapshot(lake, "user_actions")
    applied(lake, monkeypatch, with_field(TWO, "basket", COUNT))
    put(lake, [action(basket=4)], 1)
    (rows,) = read_log(lake, "user_actions", 0, 0, 10, ["basket", "device"], past)
    assert rows.to_pylist() == [{"basket": 3, "device": "desktop"}]


def test_a_log_of_a_past_snapshot_as_stored_has_the_columns_of_today(lake: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    put(lake, [action(basket=3)], 0, platform=["desktop"])
    past = snapshot(lake, "user_actions")
    applied(lake, monkeypatch, with_field(TWO, "basket", COUNT))
    put(lake, [action(basket=4)], 1)
    today = [column.name for column in TABLES["user_actions"].columns]
    for columns in (["topic_offset", "device", "basket"], None):
        (rows,) = read_log(lake, "user_actions", 0, 0, 10, columns, past, as_stored=True)
        assert rows.schema.names == (columns or today)
        (row,) = rows.to_pylist()
        assert (row["topic_offset"], row["device"], row["basket"]) == (0, "desktop", None)


def test_so_it_has_where_a_file_has_deletes(lake: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    put(lake, [action(basket=3)], 0, platform=["desktop"])
    past = snapshot(lake, "user_actions")
    applied(lake, monkeypatch, with_field(TWO, "basket", COUNT))

    def with_deletes(held: Table, scan: DataScan) -> list[FileScanTask]:
        tasks = list(scan.plan_files())
        for task in tasks:
            task.delete_files = {task.file}  # any file: what it deletes is looked up by path, and it names none
        return tasks

    monkeypatch.setattr("lakehouse.read.files_of", with_deletes)
    monkeypatch.setattr("pyiceberg.io.pyarrow._read_all_delete_files", lambda *_: {})
    (rows,) = read_log(lake, "user_actions", 0, 0, 10, ["device", "basket"], past, as_stored=True)
    assert rows.to_pylist() == [{"device": "desktop", "basket": None}]
