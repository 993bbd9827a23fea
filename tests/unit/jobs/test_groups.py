"""From where a group goes on, as a person says it, and the groups that are not reset."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from infra.config import load_settings
from infra.errors import StreamhouseError
from infra.stack.groups import GroupLag, GroupPart, summed
from jobs.cli import app
from jobs.groups import Target, read_target, refusal, within

SETTINGS = load_settings({})


@pytest.mark.parametrize(
    ("word", "value", "target"),
    [
        ("beginning", None, Target("beginning")),
        ("end", None, Target("end")),
        ("offset", "17", Target("offset", 17)),
        ("time", "2024-03-01T12:00:00Z", Target("time", 1_709_294_400_000)),
        ("time", "2024-03-01", Target("time", 1_709_251_200_000)),
    ],
)
def test_what_stands_behind_to_is_read(word: str, value: str | None, target: Target) -> None:
    assert read_target(word, value) == target


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("start", None),
        ("beginning", "1"),
        ("end", "0"),
        ("offset", None),
        ("offset", "-1"),
        ("offset", "ten"),
        ("time", None),
        ("time", "soon"),
    ],
)
def test_anything_else_is_refused(word: str, value: str | None) -> None:
    with pytest.raises(StreamhouseError, match=f"--to {word}"):
        read_target(word, value)


def test_the_command_takes_both_forms_before_it_asks_a_broker() -> None:
    for arguments in (["--to", "offset", "ten"], ["--to", "yesterday"]):
        with pytest.raises(StreamhouseError, match=r"expected one of beginning, end, offset N, time T"):
            CliRunner().invoke(app, ["groups", "reset", "analytics", "--topic", "orders", *arguments], catch_exceptions=False)


@pytest.mark.parametrize(("wanted", "got"), [(0, 5), (5, 5), (7, 7), (9, 9), (10, 9)])
def test_an_offset_that_the_topic_does_not_have_becomes_the_nearest(wanted: int, got: int) -> None:
    assert within(wanted, 5, 9) == got


@pytest.mark.parametrize("job", ["score_events", "archive_topics", "archive_shop"])
def test_a_job_is_not_moved_by_its_group(job: str) -> None:
    assert "goes on behind what its outputs hold" in (refusal(SETTINGS, job, yes=True) or "")


@pytest.mark.parametrize("name", ["order", "payment", "inventory", "shipping", "carrier", "account"])
def test_a_participant_is_reset_only_by_one_who_knows_what_it_means(name: str) -> None:
    assert "among the latest 1,000 that changed its aggregate" in (refusal(SETTINGS, name) or "")


def test_partitions_are_put_together_by_group_and_topic() -> None:
    parts = [GroupPart("b", "orders", 0, 3, 5, 2, 1), GroupPart("b", "orders", 1, None, 4, 4, 1), GroupPart("a", "orders", 0, 5, 5, 0, 0)]
    assert summed(parts) == [GroupLag("a", "orders", 0, 0), GroupLag("b", "orders", 6, 1)]
