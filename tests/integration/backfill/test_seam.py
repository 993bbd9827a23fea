"""The log out of archive and topic: wherever the seam lies, the rows are what the scoring path answers, each offset once."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from infra.config import Settings
from jobs.backfill.run import Outcome, backfill
from jobs.backfill.seam import SeamError
from lakehouse.append import append
from lakehouse.read import log_ends, read
from tests.audited import PARTITIONS, Archive, Writer
from tests.integration.backfill.logs import answers, archive_prefix, champion, ends_of_topics, send, some_actions, system, table_rows
from tests.lake import rewrite_records

ACTIONS = 400


def filled(settings: Settings, rows: int = 200_000) -> Outcome:
    return backfill(settings, champion(settings), "backfill-test", rows=rows)


@pytest.mark.parametrize("archived", [ACTIONS // 3, ACTIONS])
def test_rows_are_what_the_scoring_path_answers_wherever_the_seam_lies(broker: Settings, tmp_path: Path, archived: int) -> None:
    settings = system(broker, tmp_path / "state")
    shop, archive, actions = Writer(settings, "shop"), Archive(settings), some_actions(ACTIONS)
    send(shop, actions[:archived])
    archive.follow("user-actions")
    send(shop, actions[archived:])
    topics, expected = ends_of_topics(settings), answers(settings, champion(settings))

    outcome = filled(settings)
    held = table_rows(settings)
    assert held == expected
    assert len(held) == ACTIONS - ACTIONS // 50 == outcome.rows
    assert (outcome.refused, outcome.not_finite, outcome.snapshots) == (ACTIONS // 50, 0, 1)
    assert {p: (seam.first, seam.seam) for p, seam in outcome.seams.items()} == log_ends(settings, "user_actions")
    behind = [p for p, seam in outcome.seams.items() if any(place[0] == p and place[1] >= seam.seam for place in held)]
    assert behind == ([] if archived == ACTIONS else list(range(PARTITIONS)))
    assert any("late_action" in row[3] for row in held.values())
    assert any("profile_missing" not in row[3] for row in held.values())
    assert ends_of_topics(settings) == topics


@pytest.mark.parametrize("seed", range(3))
def test_the_record_at_the_seam_is_read_once_too(broker: Settings, tmp_path: Path, seed: int) -> None:
    settings = system(broker, tmp_path / "state")
    send(Writer(settings, "shop"), some_actions(200))
    ends = archive_prefix(settings, seed)
    outcome, expected = filled(settings), answers(settings, champion(settings))
    assert {partition: seam.seam for partition, seam in outcome.seams.items()} == ends
    assert table_rows(settings) == expected
    assert outcome.rows == len(expected)


def test_what_comes_later_is_added_and_nothing_when_nothing_came(broker: Settings, tmp_path: Path) -> None:
    settings = system(broker, tmp_path / "state")
    shop, archive, actions = Writer(settings, "shop"), Archive(settings), some_actions(ACTIONS)
    send(shop, actions[:150])
    archive.follow("user-actions")
    first = filled(settings)
    again = filled(settings)
    assert (first.snapshots, again.snapshots, again.rows, again.folded) == (1, 0, 0, [])
    send(shop, actions[150:300])  # not archived yet
    second = filled(settings)
    archive.follow("user-actions")  # the seam moves over what was scored out of the topic
    moved = filled(settings)
    assert (moved.rows, moved.snapshots) == (0, 0)
    assert moved.seams != second.seams
    rewrite_records(settings, "user_actions")
    send(shop, actions[300:])
    third = filled(settings)
    assert first.rows + second.rows + third.rows == len(table_rows(settings))
    assert table_rows(settings) == answers(settings, champion(settings))
    of_one = [a for a in actions if a.key == actions[0].key and a.value != b"no json"][:1]
    send(shop, of_one)
    assert len(filled(settings).folded) == 1  # no other partition is read again


def test_refused_records_alone_move_the_offsets_on(broker: Settings, tmp_path: Path) -> None:
    settings = system(broker, tmp_path / "state")
    shop, archive = Writer(settings, "shop"), Archive(settings)
    send(shop, some_actions(30))
    archive.follow("user-actions")
    filled(settings)
    send(shop, [replace(one, value=b"no json") for one in some_actions(30)])
    outcome = filled(settings)
    assert (outcome.rows, outcome.refused, outcome.snapshots) == (0, 30, 1)
    assert (filled(settings).snapshots, filled(settings).refused) == (0, 0)
    assert table_rows(settings) == answers(settings, champion(settings))


def test_aborted_records_have_no_row_and_open_ones_have_one_once_they_are_committed(broker: Settings, tmp_path: Path) -> None:
    settings = system(broker, tmp_path / "state")
    shop, other, archive, actions = Writer(settings, "shop"), Writer(settings, "other"), Archive(settings), some_actions(120)
    send(shop, actions[:30])
    archive.follow("user-actions")
    shop.send([("user-actions", one) for one in actions[30:60]], commit=False)
    send(shop, actions[:30])
    other.begin()
    other.put([("user-actions", one) for one in actions[60:90]])
    shop.send([("user-actions", one) for one in actions[90:]], commit=False)
    filled(settings)
    assert table_rows(settings) == answers(settings, champion(settings))
    hidden = len(table_rows(settings))
    other.end(commit=True)
    outcome = filled(settings)
    assert outcome.rows == len(table_rows(settings)) - hidden > 0
    assert table_rows(settings) == answers(settings, champion(settings))


def test_a_topic_that_retention_has_cut_behind_the_archives_end_is_refused_by_its_offsets(broker: Settings, tmp_path: Path) -> None:
    settings = system(broker, tmp_path / "state")
    shop, archive, actions = Writer(settings, "shop"), Archive(settings), some_actions(300)
    send(shop, actions[:200])
    archive.follow("user-actions")
    send(shop, actions[200:])
    expected, (_, seam) = answers(settings, champion(settings)), log_ends(settings, "user_actions")[1]
    _cut(settings, 1, seam)
    assert filled(settings).rows == len(expected)
    assert table_rows(settings) == expected
    send(shop, some_actions(30, first=300))
    _cut(settings, 1, seam + 3)
    with pytest.raises(SeamError, match=f"partition 1: expected offsets {seam} to {seam + 2} in table user_actions, which ends at {seam}"):
        filled(settings)
    assert table_rows(settings) == expected


def test_a_topic_that_ends_before_the_archive_is_another_one(broker: Settings, tmp_path: Path) -> None:
    settings = system(broker, tmp_path / "state")
    send(Writer(settings, "shop"), some_actions(100))
    Archive(settings).follow("user-actions")
    with pytest.raises(SeamError, match="it is another topic than the one that was archived"):
        filled(system(broker, tmp_path / "state"))


def test_a_longer_topic_that_holds_another_log_is_another_one(broker: Settings, tmp_path: Path) -> None:
    settings = system(broker, tmp_path / "state")
    send(Writer(settings, "shop"), some_actions(100))
    Archive(settings).follow("user-actions")
    other = system(broker, tmp_path / "state")
    send(Writer(other, "shop"), some_actions(300, first=500))
    with pytest.raises(SeamError, match=r"to hold the record of offset \d+ with which table user_actions ends, got"):
        filled(other)


def test_profiles_written_later_change_nothing_that_was(broker: Settings, tmp_path: Path) -> None:
    settings = system(broker, tmp_path / "state")
    shop, archive, actions = Writer(settings, "shop"), Archive(settings), some_actions(200)
    send(shop, actions)
    archive.follow("user-actions")
    expected = answers(settings, champion(settings))
    rows = read(settings, "user_profiles")
    late = pa.array([time.time_ns() // 1000] * len(rows), pa.timestamp("us", "UTC"))
    changed = rows.set_column(1, "channel", pa.array(["another"] * len(rows))).set_column(4, "created", late)
    append(settings, "user_profiles", changed, "later")
    filled(settings)
    assert table_rows(settings) == expected


def _cut(settings: Settings, partition: int, offset: int) -> None:
    """As retention does."""
    client = AdminClient({**settings.kafka.client()})
    for future in client.delete_records([TopicPartition("user-actions", partition, offset)]).values():
        future.result(30)
