"""Topics that retention has cut, beside tables that hold what it took."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from infra.config import Settings
from jobs.audit.run import audit
from tests.audited import PARTITIONS, Archive, Scorer, Sent, Writer, action, audited_anew
from tests.integration.audit.reports import USERS, archived_apart, kinds, with_value
from tests.lake import rewrite_records


@pytest.fixture(scope="module")
def cut(broker: Settings, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, dict[str, int]]:
    """Archived topics whose first records retention has taken, all of the dead letters among them."""
    settings = audited_anew(broker, tmp_path_factory.mktemp("cut"))
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
    return settings, lows


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
