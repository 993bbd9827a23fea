"""What a start of a job left out is known to whoever reads its tables."""

from __future__ import annotations

from pathlib import Path

from infra.config import load_settings
from jobs.accepted_losses import Loss, accepted, note


def test_a_loss_is_noted_once_for_its_job_and_told_where_it_meets(tmp_path: Path) -> None:
    settings = load_settings({"STREAMHOUSE_STATE": str(tmp_path)})
    one, two = Loss("orders", 0, 5, 9, 20), Loss("orders", 1, 5, 6, 6)
    assert accepted(settings, "archive_shop", ("orders", 0), 0, 100) == []
    note(settings, "archive_shop", [])
    note(settings, "archive_shop", [one])
    note(settings, "archive_shop", [one, two])
    assert accepted(settings, "archive_shop", ("orders", 0), 8, 100) == [one]
    assert accepted(settings, "archive_shop", ("orders", 1), 0, 6) == [two]
    for first, end in ((0, 5), (9, 100)):
        assert accepted(settings, "archive_shop", ("orders", 0), first, end) == []
    assert accepted(settings, "archive_topics", ("orders", 0), 0, 100) == []


def test_one_offset_of_an_empty_topic_may_be_the_mark_behind_its_last_transaction() -> None:
    assert Loss("orders", 0, 5, 6, 6).may_be_a_mark
    assert not Loss("orders", 0, 5, 6, 7).may_be_a_mark
    assert not Loss("orders", 0, 5, 7, 7).may_be_a_mark
