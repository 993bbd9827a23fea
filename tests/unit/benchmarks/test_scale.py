"""The arithmetic of docs/scale.md, and that the page can be made anew."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from infra.config import ROOT
from infra.errors import StreamhouseError
from tests.benchmarks.action_costs import Measured, measured
from tests.benchmarks.scale import filled, tables
from tests.benchmarks.sizing import Assumed, brokers, lanes, limits, partitions, sizing

M = Measured(
    rate=20_000,
    lanes=2,
    scored_us={"broker": 10.0, "jobmanager": 5.0, "taskmanager": 30.0, "python workers": 40.0, "redis": 6.0},
    archived_us={"broker": 2.0, "jobmanager": 0.0, "taskmanager": 60.0, "python workers": 30.0, "redis": 0.0},
    topic_bytes={"user-actions": 200.0, "predictions": 300.0},
    table_bytes={"user-actions": 50.0, "predictions": 100.0},
    user_bytes=1000.0,
    user_file_bytes=800.0,
    commit_bytes=10_000.0,
    worker_bytes=200e6,
    looks_us={"keeper": 5.0, "meter": 4.0},
    said="a bench",
)
A = Assumed(rate=1_000_000, busy=0.5)


def number(part: str, what: str, m: Measured = M, a: Assumed = A) -> str:
    (found,) = [line.number for line in sizing(m, a)[part] if line.what == what]
    return found


def test_lanes_are_what_the_slower_half_of_one_takes_at_the_share_of_a_core_that_may_be_used() -> None:
    assert lanes(M, A) == 80  # a million times 40 us, over half a core
    assert lanes(replace(M, scored_us={**M.scored_us, "taskmanager": 60.0}), A) == 120
    assert partitions(M, A) == 256  # twice the lanes, up to a power of two
    assert lanes(M, replace(A, rate=2_000_000)) == 2 * lanes(M, A)


def test_brokers_are_what_the_scarcest_of_their_parts_asks_for() -> None:
    cores = replace(A, kept_days=0.001, broker_disk_rate=1e12, card_rate=1e12)
    assert brokers(M, cores) == 4  # a million times 3 x 10 + 2 us over half of 16 cores
    assert brokers(M, replace(cores, broker_disk_rate=1e8)) == 30  # 3 x 500 MB/s over half of 100 MB/s
    assert brokers(M, replace(cores, card_rate=1e8)) == 46  # 2 x 500 to followers, and 2 x 200 + 3 x 300 to readers
    assert brokers(M, replace(cores, kept_days=1, broker_disk_bytes=1e12)) == 260
    assert brokers(M, replace(cores, rate=1)) == 3  # one a copy


@pytest.mark.parametrize(
    ("part", "what", "wanted"),
    [
        ("Kafka", "written by producers", "500 MB/s"),
        ("Flink", "memory of the Python workers", "16 GB"),
        ("Flink", "slots of archive_topics", "120"),
        ("Flink", "transactions a second", "160"),
        ("Flink", "JobManager, cores", "4.0"),  # a tenth of a core with 2 lanes
        ("Redis", "Redis by cores, one thread each", "12"),
        ("Redis", "Redis by memory", "13"),
        ("Redis", "**Redis shards**", "**13**"),
        ("Iceberg", "data a day", "13 TB"),
        ("Iceberg", "commits a day to each table", "1,440"),
        ("Iceberg", "files a day, before merging", "737,280"),
    ],
)
def test_each_number_is_its_arithmetic(part: str, what: str, wanted: str) -> None:
    assert number(part, what) == wanted


def test_limits_come_in_the_order_in_which_they_are_met() -> None:
    found = limits(M, A)
    rates = [limit.rate for limit in found if limit.rate is not None]
    assert rates == sorted(rates)
    assert [limit.rate for limit in found[len(rates) :]] == [None] * (len(found) - len(rates))
    by_name = {limit.what: limit.rate for limit in found}
    assert by_name["one lane (the default)"] == pytest.approx(25_000)
    assert by_name["one Redis, one thread"] == pytest.approx(1e6 / 6)
    # the rate at which as many lanes as it takes keep the JobManager's one core busy is the one where its cores are 1
    alone = by_name["the JobManager's coordination"]
    assert alone is not None
    assert float(number("Flink", "JobManager, cores", a=replace(A, rate=alone))) == pytest.approx(1.0, abs=0.05)


def legs() -> list[dict[str, Any]]:
    def leg(part: str, figures: dict[str, Any], *, counts: bool = True) -> dict[str, Any]:
        return {"part": part, "side": "ours", "counts": counts, "figures": figures}

    used = dict(M.scored_us)
    table = {"rows": 1000, "files": 4, "data_bytes": 50_000, "data_folder_bytes": 90_000, "metadata_bytes": 40_000, "commits": 4}
    disk = {
        "actions": 1000,
        "users": 10,
        "kafka_bytes": {"user-actions": 200_000, "predictions": 300_000},
        "tables": {"user-actions": table, "predictions": {**table, "data_bytes": 100_000}},
        "archive_cpu_seconds": {"broker": 9.0, "taskmanager": 9.0, "python workers": 9.0, "keeper": 0.5},
        "archive_steady": {"actions": 100_000, "cpu_seconds": {"broker": 0.2, "taskmanager": 6.0, "python workers": 3.0, "keeper": 0.5}},
        "redis_bytes": 10_000,
        "aof_rewritten_bytes": 8000,
    }
    return [
        leg("drain", {"actions": 5, "per_second": 20_000.0, "cpu_us": used}),
        leg("drain", {"actions": 5, "per_second": 1.0, "cpu_us": dict.fromkeys(used, 1e6)}, counts=False),
        {**leg("drain", {"actions": 5, "per_second": 9.0, "cpu_us": {"rows": 1.0}}), "side": "rows"},
        leg("costs: disk", disk),
        leg("costs: memory under load", {"pss_mib": {"python workers": 200e6 / 2**20}, "cpu_us": dict(M.looks_us)}),
    ]


def test_what_a_bench_measured_is_read_from_the_runs_that_count() -> None:
    found = measured(legs(), "x")
    assert found.archived_us == pytest.approx(M.archived_us)
    assert replace(found, said="a bench", archived_us=M.archived_us) == M


def test_an_archive_that_was_through_by_its_first_commit_counts_with_its_start() -> None:
    told = legs()
    told[3]["figures"]["archive_steady"] = {"actions": 0, "cpu_seconds": {}}
    assert measured(told, "x").archived_us["taskmanager"] == pytest.approx(9000.0)


def test_no_slot_of_the_archive_is_idle() -> None:
    slow = replace(M, archived_us={**M.archived_us, "taskmanager": 300.0})
    assert number("Flink", "slots of archive_topics", slow) == "600"
    assert partitions(slow, A) == 1024


def test_a_bench_without_costs_says_what_to_run() -> None:
    with pytest.raises(StreamhouseError, match="--only drain,costs"):
        measured(legs()[:3], "bench.json")


def test_the_page_holds_every_table_and_can_be_made_anew() -> None:
    page = (ROOT / "docs" / "scale.md").read_text("utf-8")
    made = tables(M, A)
    once = filled(page, made)
    assert filled(once, made) == once
    assert all(table in once for table in made.values())
    assert once.count("\n## ") == page.count("\n## ")
    with pytest.raises(StreamhouseError, match="marks"):
        filled(page.replace("<!-- made: redis -->", ""), made)


def test_every_assumption_stands_on_the_page() -> None:
    assert tables(M, A)["assumed"].count("\n") == 1 + len(fields(Assumed))
