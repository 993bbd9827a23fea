from __future__ import annotations

from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from infra.config import ROOT
from infra.contracts.codec import decode_user_action
from infra.contracts.events import Rejected
from infra.errors import StreamhouseError
from jobs.clickstream import count, open_clickstream, profiles, rows

MAPPING = '[columns]\nuser_id = "who"\nsession_id = "visit"\naction = "what"\ntimestamp = "at"\n'


def a_file(folder: Path, text: str, mapping: str = MAPPING) -> Path:
    (folder / "clicks.toml").write_text(mapping)
    file = folder / "clicks.csv"
    file.write_text(text)
    return file


def test_rows_come_in_event_time_order_and_ties_in_the_files(tmp_path: Path) -> None:
    file = a_file(tmp_path, "who,visit,what,at\nb,2,cart,2024-01-02 00:00:00\na,1,home,2024-01-01 00:00:00\nc,3,home,2024-01-02 00:00:00\n")
    assert [row.user_id for row in rows(open_clickstream(file))] == ["a", "b", "c"]


def test_a_row_that_names_no_user_is_sent_as_it_is(tmp_path: Path) -> None:
    file = a_file(tmp_path, "who,visit,what,at\n,1,home,2024-01-01 00:00:00\na,1,home,2024-01-01 00:00:01\n")
    nobody, somebody = rows(open_clickstream(file))
    assert (nobody.user_id, somebody.user_id) == ("", "a")
    refused = decode_user_action(nobody.value)
    assert isinstance(refused, Rejected)
    assert refused.reason == "wrong_type"
    assert profiles(open_clickstream(file))["user_id"].to_pylist() == ["a"]


def test_a_parquet_file_is_read_as_a_csv_is(tmp_path: Path) -> None:
    file = a_file(tmp_path, "who,visit,what,at\nb,2,cart,2024-01-02 00:00:00\na,1,home,2024-01-01 00:00:00\n")
    other = tmp_path / "clicks.parquet"
    table = csv.read_csv(file)  # with times as times, not as text
    assert pa.types.is_timestamp(table["at"].type)
    pq.write_table(table, other)
    expected, got = ([(row.user_id, row.time, orjson.loads(row.value)["data"]) for row in rows(open_clickstream(f))] for f in (file, other))
    assert got == expected


def test_event_ids_are_the_same_each_time(tmp_path: Path) -> None:
    file = a_file(tmp_path, "who,visit,what,at\na,1,home,2024-01-01 00:00:00\n")
    once, again = ([row.value for row in rows(open_clickstream(file))] for _ in range(2))
    assert once == again
    assert orjson.loads(once[0])["data"] == {"userId": "a", "sessionId": "1", "action": "home", "platform": None, "lifecycle": None}


def test_the_shops_file_is_whole() -> None:
    clickstream = open_clickstream(ROOT / "data" / "shop_clickstream.csv.gz")
    assert count(clickstream) == 31_106
    assert profiles(clickstream).num_rows == 600


@pytest.mark.parametrize(
    ("text", "mapping", "said"),
    [
        ("who,visit,what,at\n", '[columns]\nuser_id = "who"\n', "names no column for session_id, action, timestamp"),
        ("who,visit,what,at\n", MAPPING + 'age = "x"\n', "names age; expected only"),
        ("who,visit,what\n", MAPPING, "has no column 'at'"),
        ("who,visit,what,at\n", "[columns", "is no TOML"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused_with_the_reason(tmp_path: Path, text: str, mapping: str, said: str) -> None:
    with pytest.raises(StreamhouseError, match=said.replace("[", r"\[")):
        open_clickstream(a_file(tmp_path, text, mapping))


def test_a_timestamp_of_another_format_is_named(tmp_path: Path) -> None:
    file = a_file(tmp_path, "who,visit,what,at\na,1,home,yesterday\n")
    with pytest.raises(StreamhouseError, match="row 1: timestamp 'yesterday' does not fit"):
        count(open_clickstream(file))


def test_a_missing_file_and_a_missing_mapping_are_named(tmp_path: Path) -> None:
    with pytest.raises(StreamhouseError, match="is not there; expected a CSV"):
        open_clickstream(tmp_path / "none.csv")
    (tmp_path / "alone.csv").write_text("a\n")
    with pytest.raises(StreamhouseError, match=r"mapping .* is not there"):
        open_clickstream(tmp_path / "alone.csv")
