"""Offsets without a row: control records and aborted records are told from losses, by the topic at both isolation levels."""

from __future__ import annotations

import io
import random
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # re-exported in silence
from rich.console import Console

from infra.config import Settings, load_settings
from jobs.audit.gaps import Holes, Runs, Told
from jobs.audit.run import audit
from jobs.audit.tell import as_dict, show
from jobs.audit.topic_log import steps
from jobs.audit.uncommitted import Uncommitted
from jobs.committed_records import end_offsets, read_all
from lakehouse import migrate
from tests.audited import PARTITIONS, Archive, Scorer, Sent, Writer, action, archived, audited_anew
from tests.integration.audit.reports import found, kinds
from tests.lake import put_records

TOPIC, TABLE, USER = "user-actions", "user_actions", "user_1"
PARTITION = action(USER, 0).partition


@pytest.fixture(scope="module")
def system(broker: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Topics without records."""
    return audited_anew(broker, tmp_path_factory.mktemp("gaps"))


@pytest.fixture(scope="module")
def placed(system: Settings) -> dict[str, list[int]]:
    """By name, where each transaction's records lie; all of one user, so in one partition."""
    shop, rival = Writer(system, "shop"), Writer(system, "rival")
    numbers = iter(range(100))
    placed: dict[str, list[int]] = {}

    def some(count: int) -> list[tuple[str, Sent]]:
        return [(TOPIC, action(USER, next(numbers))) for _ in range(count)]

    def lying(places: list[tuple[int, int]]) -> list[int]:
        return [offset for _, offset in places]

    placed["first"] = lying(shop.send(some(10)))
    placed["aborted"] = lying(shop.send(some(7), commit=False))
    placed["second"] = lying(shop.send(some(10)))
    shop.begin()
    placed["aborted alone"] = lying(shop.put(some(1)))  # its control record comes behind another transaction
    placed["between"] = lying(rival.send(some(1)))
    shop.end(commit=False)
    placed["third"] = lying(shop.send(some(10)))
    shop.send(some(3), commit=False)  # behind the last row, so of no gap
    Scorer(system).answer()
    return placed


@pytest.fixture
def lake(system: Settings, placed: dict[str, list[int]], tmp_path: Path) -> Settings:
    """A lake of the test's own that lacks the actions alone."""
    own = load_settings({"STREAMHOUSE_STATE": str(tmp_path / "state"), "STREAMHOUSE_KAFKA_PORT": str(system.kafka.port)})
    migrate.apply(own)
    for topic in ("predictions", "user-actions-dlq"):
        Archive(own).follow(topic)
    return own


def rows_at(settings: Settings, offsets: list[int]) -> pa.Table:
    rows = archived(TOPIC, list(read_all(settings, TOPIC, PARTITIONS)))
    return rows.filter(pc.is_in(rows["topic_offset"], pa.array(offsets, pa.int64())))


def test_control_records_and_aborted_records_are_no_losses(lake: Settings, placed: dict[str, list[int]]) -> None:
    put_records(lake, TABLE, rows_at(lake, placed["first"]))
    put_records(lake, TABLE, rows_at(lake, placed["second"] + placed["between"] + placed["third"]))
    report = audit(lake, settled=True)
    assert kinds(report) == {}
    assert report.unproven == []
    assert report.counts.without_row[TOPIC] == Told(aborted=8, neither=5)


def test_losses_are_told_from_aborted_records_beside_them(lake: Settings, placed: dict[str, list[int]]) -> None:
    within, between, alone = placed["first"][4], placed["second"][:2], placed["between"]
    put_records(lake, TABLE, rows_at(lake, [offset for offset in placed["first"] if offset != within]))
    put_records(lake, TABLE, rows_at(lake, placed["second"][2:]))
    put_records(lake, TABLE, rows_at(lake, placed["third"]))
    report = audit(lake, settled=True)
    assert report.counts.without_row[TOPIC] == Told(committed=4, aborted=8, neither=5)
    assert kinds(report) == {(TABLE, "dropped_row"): 4, (TABLE, "receipt_sparse"): 1, (TABLE, "receipt_gap"): 2}
    assert [(one.partition, one.offset) for one in found(report, TABLE, "dropped_row")] == [
        (PARTITION, o) for o in [within, *between, *alone]
    ]
    (sparse,) = found(report, TABLE, "receipt_sparse")
    assert "; the topic holds 10 committed records, 0 aborted ones and 0 offsets with neither there" in sparse.sentence
    first, second = (gap.sentence for gap in found(report, TABLE, "receipt_gap"))
    told = "the topic holds 2 committed records, 7 aborted ones and 2 offsets with neither there, the first committed one at offset"
    assert f"offsets {placed['first'][-1] + 1}-{between[1]} are in no snapshot" in first
    assert first.endswith(f"{told} {between[0]}")
    told = "the topic holds 1 committed records, 1 aborted ones and 3 offsets with neither there, the first committed one at offset"
    assert second.endswith(f"{told} {alone[0]}")

    assert as_dict(report)["counts"]["without_row"][TOPIC] == {"committed": 4, "aborted": 8, "neither": 5, "not_retained": 0}
    show(report, Console(file=(shown := io.StringIO()), width=200))
    _, gaps = shown.getvalue().split("offsets without a row")
    (cells,) = [line.split("│") for line in gaps.splitlines() if line.startswith(f"│ {TOPIC} ")]
    assert [cell.strip() for cell in cells[2:6]] == ["4", "8", "5", "0"]


def test_a_row_that_holds_an_aborted_record_is_found(lake: Settings, placed: dict[str, list[int]]) -> None:
    put_records(lake, TABLE, rows_at(lake, placed["first"]))
    put_records(lake, TABLE, rows_at(lake, placed["second"] + placed["between"] + placed["third"]))
    marker = placed["first"][-1] + 1
    forged = rows_at(lake, placed["first"][:3])
    offsets = pa.array([marker, placed["aborted"][2], placed["aborted alone"][0]], pa.int64())
    put_records(lake, TABLE, forged.set_column(forged.column_names.index("topic_offset"), "topic_offset", offsets))
    report = audit(lake, settled=True)
    on_marker, *on_aborted = found(report, TABLE, "row_without_record")
    assert on_marker.offset == marker
    assert on_marker.sentence.endswith("where topic user-actions has no record, committed or aborted")
    assert [finding.offset for finding in on_aborted] == offsets.to_pylist()[1:]
    assert all(finding.sentence.endswith("has the record of an aborted transaction") for finding in on_aborted)
    assert report.counts.without_row[TOPIC] == Told(aborted=6, neither=4)


@pytest.fixture(scope="module")
def scattered(system: Settings) -> tuple[list[Runs], set[int]]:
    """Gaps that transactions of two writers left at random in topic `scattered`, a step each, and where aborted records lie."""
    rng = random.Random(1)
    client = AdminClient(dict(system.kafka.client()))
    client.create_topics([NewTopic("scattered", 1, 1)])["scattered"].result(30)
    writers = [Writer(system, f"scattered-{number}") for number in range(2)]
    aborted: set[int] = set()
    for _ in range(60):
        is_kept = [rng.random() < 0.6 for _ in writers]
        for writer in writers:
            writer.begin()
        for _ in range(rng.randint(1, 4)):
            number = rng.randrange(2)
            count = rng.choice([1, 1, 1, 2, 30, 1_500])  # so many lie between that a seek is worth it
            places = writers[number].put([("scattered", Sent(b"k", b"v", partition=0))] * count)
            aborted |= set() if is_kept[number] else {offset for _, offset in places}
        for writer, commit in zip(writers, is_kept, strict=True):
            writer.end(commit=commit)
    end, holes = end_offsets(system, [("scattered", 0)])["scattered", 0], Holes(0)
    gaps = [*(holes.add(step.offset) for step in steps(system, "scattered", 0, 0, end)), holes.close(end)]
    assert aborted < set(offsets(holes.runs))
    return gaps, aborted


@pytest.mark.parametrize("share", [1.0, 0.3, 0.1])
def test_aborted_records_are_found_wherever_they_lie(system: Settings, scattered: tuple[list[Runs], set[int]], share: float) -> None:
    gaps, aborted = scattered
    rng = random.Random(1)
    asked = [runs[[rng.random() < share for _ in runs]] for runs in gaps]
    with closing(Uncommitted(system, "scattered", 0)) as uncommitted:
        found = [offsets(uncommitted.records(runs)) for runs in asked]
    assert found == [[offset for offset in offsets(runs) if offset in aborted] for runs in asked]
    assert sum(map(len, found)) > 0


def offsets(runs: Runs) -> list[int]:
    return [offset for first, end in runs.tolist() for offset in range(first, end)]
