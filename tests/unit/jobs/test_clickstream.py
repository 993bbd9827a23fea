from __future__ import annotations

from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from infra.config import ROOT
from infra.contracts.events import Rejected
from infra.contracts.in_effect import decode_user_action
from infra.errors import StreamhouseError
from jobs.clickstream import open_clickstream, profiles, rows

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


HEAD = "who,visit,what,at\n"
GOOD = "a,1,home,2024-01-01 00:00:00\n"


def test_a_row_without_a_readable_time_comes_last_and_the_contract_refuses_it(tmp_path: Path) -> None:
    clickstream = open_clickstream(a_file(tmp_path, HEAD + "c,1,home,soon\nd,1,home,\n" + GOOD + GOOD.replace("a,", "b,")))
    sent = list(rows(clickstream))
    assert [(row.number, row.user_id) for row in sent] == [(0, "a"), (1, "b"), (2, "c"), (3, "d")]
    assert len({row.time for row in sent}) == 1
    assert [orjson.loads(row.value)["timestamp"] for row in sent] == ["2024-01-01T00:00:00.000Z"] * 2 + ["soon", None]
    assert [isinstance(decode_user_action(row.value), Rejected) for row in sent] == [False, False, True, True]
    assert profiles(clickstream)["user_id"].to_pylist() == ["a", "b"]
    assert clickstream.size == 4


def test_when_most_times_cannot_be_read_the_mapping_is_at_fault(tmp_path: Path) -> None:
    open_clickstream(a_file(tmp_path, HEAD + GOOD + "a,1,home,soon\n"))
    with pytest.raises(StreamhouseError, match="row 2: timestamp 'soon' does not fit"):
        open_clickstream(a_file(tmp_path, HEAD + GOOD + "a,1,home,soon\na,1,home,\n"))


def test_ragged_rows_and_quoted_line_breaks_are_read(tmp_path: Path) -> None:
    long, short = GOOD.replace("\n", ",more,still\n").replace("a,", "b,"), "c,1\n"
    clickstream = open_clickstream(a_file(tmp_path, HEAD + GOOD + long + 'a,1,"two\nlines",2024-01-01 00:00:00\n' + short))
    got = [(row.user_id, orjson.loads(row.value)["data"]["action"]) for row in rows(clickstream)]
    assert got == [("a", "home"), ("b", "home"), ("a", "two\nlines"), ("c", None)]


def test_another_delimiter_is_named_in_the_mapping(tmp_path: Path) -> None:
    text = (HEAD + "a,1,home,2024-01-01 00:00:00\n").replace(",", ";")
    (row,) = rows(open_clickstream(a_file(tmp_path, text, MAPPING + '[csv]\ndelimiter = ";"\n')))
    assert row.user_id == "a"


def test_actions_get_the_contracts_names(tmp_path: Path) -> None:
    mapping = MAPPING + '[actions]\n"View Item" = "product_view"\n'
    sent = rows(open_clickstream(a_file(tmp_path, HEAD + GOOD.replace("home", "View Item") + GOOD, mapping)))
    assert [orjson.loads(row.value)["data"]["action"] for row in sent] == ["product_view", "home"]


@pytest.mark.parametrize("kind", [pa.timestamp("ms"), pa.timestamp("ns"), pa.timestamp("us", "Europe/Berlin"), pa.date32()])
def test_a_parquet_column_of_times_needs_no_format(tmp_path: Path, kind: pa.DataType) -> None:
    a_file(tmp_path, "", MAPPING + '[timestamp]\nformat = "%d.%m.%Y"\n')
    moment = pa.array([1_704_067_200_000, None], pa.timestamp("ms", "UTC"))
    at = moment.cast(pa.timestamp("ms")).cast(kind) if kind == pa.date32() else moment.cast(kind)
    pq.write_table(pa.table({"who": ["a", "b"], "visit": ["1"] * 2, "what": ["home"] * 2, "at": at}), tmp_path / "clicks.parquet")
    sent = rows(open_clickstream(tmp_path / "clicks.parquet"))
    assert [orjson.loads(row.value)["timestamp"] for row in sent] == ["2024-01-01T00:00:00.000Z", None]


def test_event_ids_are_the_same_each_time(tmp_path: Path) -> None:
    file = a_file(tmp_path, "who,visit,what,at\na,1,home,2024-01-01 00:00:00\n")
    once, again = ([row.value for row in rows(open_clickstream(file))] for _ in range(2))
    assert once == again
    assert orjson.loads(once[0])["data"] == {"userId": "a", "sessionId": "1", "action": "home", "platform": None, "lifecycle": None}


def test_the_shops_file_is_whole() -> None:
    clickstream = open_clickstream(ROOT / "data" / "shop_clickstream.csv.gz")
    assert clickstream.size == 31_106
    assert profiles(clickstream).num_rows == 600


@pytest.mark.parametrize(
    ("text", "mapping", "said"),
    [
        ("who,visit,what,at\n", '[columns]\nuser_id = "who"\n', "names no column for session_id, action, timestamp"),
        ("who,visit,what,at\n", MAPPING + 'age = "x"\n', "names age; expected only"),
        ("who,visit,what\n", MAPPING, "has no column 'at'"),
        ("who,visit,what,at\n", "[columns", "is no TOML"),
        ("who,visit,what,at\n", MAPPING + "[action]\n", "names action; expected only the tables [columns], [timestamp], [csv], [actions]"),
        ("who,visit,what,at\n", 'delimiter = ";"\n' + MAPPING, "names delimiter; expected only the tables"),
        ("who,visit,what,at\n", MAPPING + '[timestamp]\nfmt = "x"\n', "names fmt; expected only format in [timestamp]"),
        ("who,visit,what,at\n", MAPPING + "[actions]\nview = 1\n", "expected a text for view in [actions], got 1"),
        ("who,visit,what,at\n", MAPPING + '[csv]\ndelimiter = "::"\n', "expected one character as [csv] delimiter"),
        ("", MAPPING, "'clicks.csv' is empty; expected a line that names the columns"),
        ('who,visit,what,at\na,1,"home,2024-01-01 00:00:00\n', MAPPING, "expected CSV with the delimiter ',', every quote closed"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused_with_the_reason(tmp_path: Path, text: str, mapping: str, said: str) -> None:
    with pytest.raises(StreamhouseError, match=said.replace("[", r"\[")):
        open_clickstream(a_file(tmp_path, text, mapping))


def test_a_timestamp_of_another_format_is_named(tmp_path: Path) -> None:
    file = a_file(tmp_path, "who,visit,what,at\na,1,home,yesterday\n")
    with pytest.raises(StreamhouseError, match="row 1: timestamp 'yesterday' does not fit"):
        open_clickstream(file)


def test_a_file_that_is_not_in_utf8_is_named_with_the_line(tmp_path: Path) -> None:
    file = a_file(tmp_path, "")
    file.write_bytes((HEAD + GOOD * 50_000).encode() + GOOD.replace("home", "café").encode("latin-1"))
    with pytest.raises(StreamhouseError, match=r"'clicks.csv' \(line 50002\) is not in UTF-8; convert it"):
        open_clickstream(file)


def test_a_missing_file_and_a_missing_mapping_are_named(tmp_path: Path) -> None:
    with pytest.raises(StreamhouseError, match="is not there; expected a CSV"):
        open_clickstream(tmp_path / "none.csv")
    (tmp_path / "alone.csv").write_text("a\n")
    with pytest.raises(StreamhouseError, match=r"mapping .* is not there"):
        open_clickstream(tmp_path / "alone.csv")
