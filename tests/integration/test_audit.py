"""The audit against a real broker and a real lake: clean where all is well, and each planted corruption found and named."""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from infra.clock import system_clock
from infra.config import Settings, load_settings
from jobs.audit.catch_up import wait
from jobs.audit.command import main
from jobs.audit.findings import Finding
from jobs.audit.pins import ANSWERS, Pin
from jobs.audit.run import Report, audit
from jobs.audit.second_look import still_missing
from jobs.committed_records import read_all
from jobs.scoring_parts import GROUP, rules
from lakehouse import migrate
from lakehouse.catalog import load_table, open_catalog
from lakehouse.read import read
from tests.audited import PARTITIONS, Archive, Scorer, Sent, Writer, action, audited_system
from tests.lake import put_records, rewrite_records
from tests.ports import free_ports

USERS, ACTIONS = 40, 600


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Good and bad records with headers, null keys and values, a repeated event id; aborted transactions before and among them."""
    with audited_system(tmp_path_factory.mktemp("clean") / "state") as settings:
        shop, scorer = Writer(settings, "shop"), Scorer(settings)
        records = [action(f"user_{n % USERS}", n % (ACTIONS - 1)) for n in range(ACTIONS)]
        records = [dataclasses.replace(one, headers=[("trace", b"%d" % n)] if n % 7 == 0 else []) for n, one in enumerate(records)]
        bad = [Sent(None, b"no json"), Sent(b"k", None), Sent(b"user_1", b"{}", [("trace", None)]), Sent(b"\xff", b"\xff")]
        shop.send([("user-actions", one) for one in records[:5]], commit=False)
        shop.send([("user-actions", one) for one in [*records[:300], *bad]])
        shop.send([("user-actions", one) for one in records[:9]], commit=False)
        scorer.answer()
        shop.send([("user-actions", one) for one in records[300:]])
        Writer(settings, "lost").send([("predictions", Sent(b"user_1", b"never committed", partition=p)) for p in range(4)], commit=False)
        scorer.answer()
        yield settings


@pytest.fixture
def lake(clean: Settings, tmp_path: Path) -> Settings:
    """A lake of the test's own that archived the clean topics, in some snapshots."""
    return archived_apart(clean, tmp_path / "state", step=250)


def archived_apart(settings: Settings, state: Path, step: int = 100_000) -> Settings:
    own = load_settings({"STREAMHOUSE_STATE": str(state), "STREAMHOUSE_KAFKA_PORT": str(settings.kafka.port)})
    migrate.apply(own)
    Archive(own, step).follow_all()
    return own


def kinds(report: Report) -> dict[tuple[str, str], int]:
    return dict(report.findings.counts)


def found(report: Report, where: str, kind: str) -> list[Finding]:
    return [finding for finding in report.findings.kept if (finding.where, finding.kind) == (where, kind)]


@pytest.mark.parametrize("processes", [0, 2])
def test_where_all_is_well_nothing_is_found(lake: Settings, processes: int) -> None:
    report = audit(lake, settled=True, processes=processes)
    assert kinds(report) == {}
    assert report.unproven == []
    assert report.counts.actions == ACTIONS + 4
    assert report.counts.predictions == ACTIONS
    assert report.counts.dead_letters == 4
    assert report.counts.repeated_event_ids == 1
    assert set(report.counts.not_archived.values()) == {0}
    assert report.counts.snapshots["predictions"] > 1


def test_a_rewrite_that_keeps_its_rows_is_clean(lake: Settings) -> None:
    for table in ("user_actions", "predictions", "user_actions_dlq"):
        rewrite_records(lake, table)
    assert kinds(audit(lake, settled=True)) == {}


def test_an_empty_system_is_clean_and_one_that_is_not_there_cannot_be_audited(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with audited_system(tmp_path / "state") as settings:
        assert main(settings, as_json=True, settled=True, wait_seconds=None) == 0
        assert json.loads(capsys.readouterr().out)["counts"]["actions"] == 0
        bare = load_settings({"STREAMHOUSE_STATE": str(tmp_path / "other"), "STREAMHOUSE_KAFKA_PORT": str(settings.kafka.port)})
        assert main(bare, as_json=True, settled=True, wait_seconds=None) == 2
        assert "table `predictions`: expected it in" in capsys.readouterr().err
    (port,) = free_ports(1)
    gone = dataclasses.replace(settings, kafka=dataclasses.replace(settings.kafka, port=int(port)))
    assert main(gone, as_json=False, settled=True, wait_seconds=None) == 2
    assert f"broker 127.0.0.1:{port}: expected an answer" in capsys.readouterr().err


def test_it_can_wait_for_answers_and_tables(clean: Settings, lake: Settings, tmp_path: Path) -> None:
    with closing(Consumer({**lake.kafka.client(), "group.id": GROUP, "enable.auto.commit": False})) as group:
        places = [TopicPartition("user-actions", p) for p in range(PARTITIONS)]
        ends = [TopicPartition(place.topic, place.partition, group.get_watermark_offsets(place)[1]) for place in places]
        group.commit(offsets=ends, asynchronous=False)
    assert wait(lake, 0.0, system_clock, time.sleep)
    behind = load_settings({"STREAMHOUSE_STATE": str(tmp_path / "behind"), "STREAMHOUSE_KAFKA_PORT": str(clean.kafka.port)})
    migrate.apply(behind)
    assert not wait(behind, 0.0, system_clock, time.sleep)


def test_answers_that_came_behind_the_pinned_ends_fill_the_holes(clean: Settings) -> None:
    answered = {(p, o) for p, o in read_places(clean) if o % 5 == 0}
    before = [Pin(topic, p, 0, 0, None) for topic in ANSWERS for p in range(PARTITIONS)]
    missing = answered | {(1, 10**6)}
    assert still_missing(clean, missing, before, rules().window, seconds=0.0) == {(1, 10**6)}


def read_places(settings: Settings) -> set[tuple[int, int]]:
    return {(message.partition() or 0, message.offset() or 0) for message in read_all(settings, "user-actions", PARTITIONS)}


def change(settings: Settings, table: str, edit: Callable[[pa.Table, int], pa.Table]) -> tuple[int, int]:
    """Rewrite a table with one edit at a row in the middle of a partition; answers the row's place."""
    rows = read(settings, table).sort_by([("topic_partition", "ascending"), ("topic_offset", "ascending")])
    at = len(rows) // 2
    place = rows["topic_partition"][at].as_py(), rows["topic_offset"][at].as_py()
    rewrite_records(settings, table, lambda _: edit(rows, at))
    return place


def with_value(rows: pa.Table, column: str, at: int, value: object) -> pa.Table:
    values = rows[column].to_pylist()
    values[at] = value
    return rows.set_column(rows.column_names.index(column), column, pa.array(values, rows[column].type))


@pytest.mark.parametrize("table", ["user_actions", "predictions"])
def test_a_dropped_row_is_found(lake: Settings, table: str) -> None:
    partition, offset = change(lake, table, lambda rows, at: pa.concat_tables([rows.slice(0, at), rows.slice(at + 1)]))
    report = audit(lake, settled=True)
    (finding,) = found(report, table, "dropped_row")
    assert (finding.partition, finding.offset) == (partition, offset)
    assert finding.sentence == f"table {table} lacks partition {partition}, offset {offset}, which topic {table.replace('_', '-')} holds"
    assert kinds(report).keys() == {(table, "dropped_row"), (table, "receipt_rewrite")}


def test_a_row_that_never_came_is_told_from_one_that_may_still_come(clean: Settings, lake: Settings, tmp_path: Path) -> None:
    rows = read(lake, "predictions")
    last = pc.max(rows.filter(pc.equal(rows["topic_partition"], 2))["topic_offset"]).as_py()
    short = load_settings({"STREAMHOUSE_STATE": str(tmp_path / "short"), "STREAMHOUSE_KAFKA_PORT": str(clean.kafka.port)})
    migrate.apply(short)
    for topic in ("user-actions", "user-actions-dlq"):
        Archive(short).follow(topic)
    is_last = pc.and_(pc.equal(rows["topic_partition"], 2), pc.equal(rows["topic_offset"], last))
    put_records(short, "predictions", rows.filter(pc.invert(is_last)))
    report = audit(short)
    assert kinds(report) == {}
    assert report.counts.not_archived["predictions"] == 1
    (finding,) = audit(short, settled=True).findings.kept
    assert (finding.kind, finding.partition, finding.offset) == ("dropped_row", 2, last)


def test_a_doubled_file_is_found(lake: Settings) -> None:
    with open_catalog(lake) as catalog:
        held = load_table(catalog, lake, "predictions")
        path = next(task.file.file_path for task in held.scan().plan_files())
        held.add_files([path], check_duplicate_files=False)
    report = audit(lake, settled=True)
    (finding,) = found(report, "predictions", "file_twice")
    assert path in finding.sentence
    doubled = {("predictions", kind) for kind in ("file_twice", "row_twice", "receipt_overlap")}
    assert doubled <= kinds(report).keys() <= doubled | {("predictions", "receipt_sparse")}


def test_a_swapped_offset_is_found(lake: Settings) -> None:
    def swapped(rows: pa.Table, at: int) -> pa.Table:
        assert rows["topic_partition"][at - 1] == rows["topic_partition"][at]
        one, other = rows["topic_offset"][at - 1].as_py(), rows["topic_offset"][at].as_py()
        return with_value(with_value(rows, "topic_offset", at - 1, other), "topic_offset", at, one)

    partition, offset = change(lake, "predictions", swapped)
    report = audit(lake, settled=True)
    assert kinds(report) == {("predictions", "swapped_offset"): 2}
    _, finding = found(report, "predictions", "swapped_offset")
    assert (finding.partition, finding.offset) == (partition, offset)
    assert "expected the record of that offset, got the one of offset" in finding.sentence


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("predictions", "score", 0.123),
        ("predictions", "action_offset", 3),
        ("predictions", "value", b"{}"),
        ("predictions", "key", b"nobody"),
        ("predictions", "features", [1.0]),
        ("user_actions", "headers", [("trace", b"forged")]),
        ("user_actions", "user_id", None),
        ("user_actions", "kafka_time", 1_704_067_200_000_000),
        ("user_actions_dlq", "source_offset", 1),
    ],
)
def test_a_changed_column_is_found(lake: Settings, table: str, column: str, value: object) -> None:
    partition, offset = change(lake, table, lambda rows, at: with_value(rows, column, at, value))
    (finding,) = audit(lake, settled=True).findings.kept
    assert (finding.where, finding.kind) == (table, f"changed_{column}")
    assert (finding.partition, finding.offset) == (partition, offset)


def test_rows_without_a_committed_record_are_found(lake: Settings) -> None:
    rows = read(lake, "user_actions")
    forged = rows.filter(pc.equal(rows["topic_partition"], 1)).slice(0, 2)
    offsets = pa.array([0, 10**6], pa.int64())  # offset 0 of each partition belongs to an aborted transaction
    put_records(lake, "user_actions", forged.set_column(rows.column_names.index("topic_offset"), "topic_offset", offsets))
    report = audit(lake, settled=True)
    aborted, beyond = found(report, "user_actions", "row_without_record")
    assert aborted.sentence.startswith("table user_actions holds a row at partition 1, offset 0, where topic user-actions has")
    assert aborted.sentence.endswith("the record of an aborted transaction")
    assert beyond.offset == 10**6


class Planted:
    """Where each corruption of the topics lies, by its name: partition and offset of the action."""

    def __init__(self) -> None:
        self.action: dict[str, tuple[int, int]] = {}
        self.answer: dict[str, tuple[int, int]] = {}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Report, Planted, Settings]]:
    """Topics with one corruption of each kind, archived as they are; and the report on them."""
    with audited_system(tmp_path_factory.mktemp("broken") / "state") as settings:
        planted, scorer, forger = Planted(), Scorer(settings), Writer(settings, "forger")
        alone = ["unanswered", "twice", "letter_too", "score", "decision", "features", "model", "other_user"]
        names = [*alone, "late", "late"]
        records = [action(f"user_{n % USERS}", n) for n in range(200)] + [action(name, 200 + n) for n, name in enumerate(names)]
        records += [action(f"user_{n % USERS}", 300 + n) for n in range(100)]
        places = Writer(settings, "shop").send([("user-actions", one) for one in records])
        for name, place in zip(names, places[200:210], strict=True):
            planted.action[f"{name}_2" if name in planted.action else name] = place
        held = scorer.answer(lambda *place: place in places[200:210])

        def edited(name: str, **data: object) -> tuple[str, Sent]:
            topic, sent = held[planted.action[name]]
            event = orjson.loads(sent.value or b"")
            event["data"] |= data
            return topic, Sent(sent.key, orjson.dumps(event))

        model = orjson.loads(held[planted.action["model"]][1].value or b"")["data"]["model"]
        letter = {
            "eventType": "DeadLetter",
            "eventId": "0",
            "timestamp": "2024-01-01T00:00:00Z",
            "version": 1,
            "source": "s",
            "correlationId": "c",
            "data": {
                "error": {"step": "decode", "reason": "r", "message": "m"},
                "retryCount": 0,
                "sourceTopic": "user-actions",
                "sourcePartition": planted.action["letter_too"][0],
                "sourceOffset": planted.action["letter_too"][1],
            },
        }
        no_decision = orjson.loads(held[planted.action["decision"]][1].value or b"")["data"]["decision"] is False
        forged = {
            "twice": held[planted.action["twice"]],
            "twice_again": held[planted.action["twice"]],
            "letter_too": held[planted.action["letter_too"]],
            "letter": ("user-actions-dlq", Sent(b"letter_too", orjson.dumps(letter))),
            "score": edited("score", score=0.25),
            "decision": edited("decision", decision=no_decision),
            "features": edited("features", features=[1.0, 2.0]),
            "model": edited("model", model=model | {"sha256": "0" * 64}),
            "other_user": edited("other_user", userId="somebody"),
            "late_2": held[planted.action["late_2"]],
            "late": held[planted.action["late"]],
            "nowhere": edited("twice", actionOffset=10**6),
            "marker": edited("twice", actionOffset=max(offset for p, offset in places if p == planted.action["twice"][0]) + 1),
            "junk": ("predictions", Sent(b"junk", b"junk")),
        }
        planted.answer = dict(zip(forged, forger.send(forged.values()), strict=True))
        Archive(settings).follow_all()
        yield audit(settings, settled=True), planted, settings


@pytest.mark.parametrize(
    ("name", "where", "kind", "answer", "says"),
    [
        ("unanswered", "user-actions", "unanswered", None, "expected one answer, got none"),
        ("twice", "user-actions", "answered_twice", None, "expected one answer, got 2: prediction in predictions"),
        ("letter_too", "user-actions", "answered_twice", None, "dead letter in user-actions-dlq"),
        ("score", "predictions", "changed_score", "score", "it says score 0.25, its features and model purchase_30m 1 give 0."),
        ("decision", "predictions", "changed_decision", "decision", "it says decision"),
        ("features", "predictions", "unusable_features", "features", "expected 29 numbers in features, got [1.0, 2.0]"),
        ("model", "predictions", "unknown_model", "model", "it says sha256 0000"),
        ("other_user", "predictions", "other_action", "other_user", "event id and user are not those of the action"),
        ("late", "predictions", "out_of_order", "late", "comes after that for the same user's later action"),
        ("nowhere", "predictions", "prediction_without_action", "nowhere", "where no action lies"),
        ("marker", "predictions", "prediction_without_action", "marker", "where no action lies"),
        ("junk", "predictions", "unreadable_answer", "junk", "expected a prediction that names an action"),
    ],
)
def test_each_corruption_of_the_topics_is_found_and_named(
    broken: tuple[Report, Planted, Settings], name: str, where: str, kind: str, answer: str | None, says: str
) -> None:
    report, planted, _ = broken
    place = planted.action[name] if answer is None else planted.answer[answer]
    (finding,) = [one for one in found(report, where, kind) if (one.partition, one.offset) == place]
    assert says in finding.sentence


def test_nothing_else_is_found(broken: tuple[Report, Planted, Settings]) -> None:
    expected = Counter({("user-actions", "unanswered"): 1, ("user-actions", "answered_twice"): 2})
    expected["predictions", "prediction_without_action"] = 2
    alone = ("changed_score", "changed_decision", "unusable_features", "unknown_model", "other_action", "out_of_order", "unreadable_answer")
    expected.update({("predictions", kind): 1 for kind in alone})
    assert broken[0].findings.counts == expected


def test_the_command_prints_what_was_found(broken: tuple[Report, Planted, Settings], capsys: pytest.CaptureFixture[str]) -> None:
    report, planted, settings = broken
    assert main(settings, as_json=True, settled=True, wait_seconds=None) == 1
    told = json.loads(capsys.readouterr().out)
    assert not told["clean"]
    assert len(told["findings"]) == report.findings.total == 12
    assert {(one["where"], one["kind"]): one["count"] for one in told["finding_counts"]} == dict(report.findings.counts)
    assert main(settings, as_json=False, settled=True, wait_seconds=0.0) == 1
    out, err = capsys.readouterr()
    assert "12 findings" in out
    partition, offset = planted.action["unanswered"]
    assert f"topic user-actions, partition {partition}, offset {offset}: expected one answer, got none" in out
    assert "did not follow their topics within 0 s" in err  # no job has committed what it read


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, dict[str, int]]]:
    """Archived topics whose first records retention has taken, all of the dead letters among them."""
    with audited_system(tmp_path_factory.mktemp("cut") / "state") as settings:
        shop, scorer = Writer(settings, "shop"), Scorer(settings)
        shop.send([("user-actions", one) for n in range(200) for one in (action(f"user_{n % USERS}", n), Sent(b"k", b"%d" % n))])
        scorer.answer()
        shop.send([("user-actions", action(f"user_{n % USERS}", n)) for n in range(200, 400)])
        scorer.answer()
        Archive(settings).follow_all()
        lows = {"user-actions": 20, "predictions": 15, "user-actions-dlq": -1}
        places = [TopicPartition(topic, p, low) for topic, low in lows.items() for p in range(PARTITIONS)]
        client = AdminClient({**settings.kafka.client()})
        for future in client.delete_records(places).values():
            future.result(30)
        yield settings, lows


def test_what_retention_has_cut_is_read_from_the_archive_and_called_not_proven(cut: tuple[Settings, dict[str, int]]) -> None:
    report = audit(cut[0], settled=True)
    assert kinds(report) == {}
    assert report.counts.actions == 600
    assert report.counts.predictions == 400
    assert report.counts.dead_letters == 200
    said = [one for one in report.unproven if one.where == "user-actions"]
    assert [(one.partition, one.first, one.last) for one in said] == [(p, 0, 19) for p in range(PARTITIONS)]
    assert "topic user-actions, partition 0 begins at offset 20: of what lay before, table user_actions holds 20 rows" in said[0].sentence
    assert {name: told.not_retained for name, told in report.counts.without_row.items() if told.not_retained} == {}


def test_a_changed_row_is_found_where_only_the_archive_is_left(cut: tuple[Settings, dict[str, int]]) -> None:
    rewrite_records(cut[0], "predictions", lambda rows: with_value(rows, "score", _first(rows), 0.125))
    (finding,) = audit(cut[0], settled=True).findings.kept
    assert (finding.kind, finding.partition, finding.offset) == ("changed_score", 0, 0)


def _first(rows: pa.Table) -> int:
    places = list(zip(rows["topic_partition"].to_pylist(), rows["topic_offset"].to_pylist(), strict=True))
    return places.index((0, 0))


def test_answers_that_are_nowhere_any_more_are_not_called_missing(cut: tuple[Settings, dict[str, int]], tmp_path: Path) -> None:
    bare = archived_apart(cut[0], tmp_path / "state")  # begins where retention has cut
    report = audit(bare, settled=True)
    assert kinds(report) == {}
    assert report.counts.predictions == 400 - 15 * PARTITIONS
    not_retained = {name: told.not_retained for name, told in report.counts.without_row.items()}
    assert (not_retained["user-actions"], not_retained["predictions"]) == (20 * PARTITIONS, 15 * PARTITIONS)
    assert any("retention has cut the topics of answers there" in one.sentence for one in report.unproven)
