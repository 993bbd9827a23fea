"""A job that comes back comes back with the settings of its start."""

from __future__ import annotations

from pathlib import Path

from infra.config import Settings, load_settings
from jobs.as_started import as_started, note


def given(state: Path, **overrides: str) -> Settings:
    return load_settings({"STREAMHOUSE_STATE": str(state), **{f"STREAMHOUSE_{name}": value for name, value in overrides.items()}})


def test_the_model_of_the_start_comes_back_whatever_the_keeper_was_told(tmp_path: Path) -> None:
    note(given(tmp_path, SCORE_EVENTS_MODEL="purchase_30m@2", KAFKA_PASSWORD="secret"), "score_events")
    keeper = given(tmp_path, SCORE_EVENTS_BATCH_ROWS="7", REDIS_PORT="1234", ARCHIVE_TOPICS_PARALLELISM="2")
    again = as_started(keeper, ["score_events", "archive_topics"])
    assert again.score_events.model == "purchase_30m@2"
    assert again.score_events.batch_rows == given(tmp_path).score_events.batch_rows
    assert (again.redis.port, again.archive_topics.parallelism) == (1234, 2)
    assert "secret" not in "".join(file.read_text() for file in (tmp_path / "jobs").iterdir())


def test_a_start_with_the_defaults_is_remembered_too(tmp_path: Path) -> None:
    note(given(tmp_path, SCORE_EVENTS_MODEL="purchase_30m@2"), "score_events")
    note(given(tmp_path), "score_events")
    again = as_started(given(tmp_path, SCORE_EVENTS_MODEL="purchase_30m@2"), ["score_events"])
    assert again.score_events.model == given(tmp_path).score_events.model


def test_predictions_are_framed_as_they_were_at_the_start(tmp_path: Path) -> None:
    note(given(tmp_path, REGISTRY_FRAMED="predictions", REGISTRY_PORT="7"), "score_events")
    again = as_started(given(tmp_path, REGISTRY_PORT="8"), ["score_events", "archive_topics"])
    assert (again.registry.framed, again.registry.port) == ("predictions", 8)
    note(given(tmp_path), "score_events")
    assert as_started(given(tmp_path, REGISTRY_FRAMED="predictions"), ["score_events"]).registry.framed == ""


def test_without_a_start_the_settings_stay(tmp_path: Path) -> None:
    assert as_started(given(tmp_path, SCORE_EVENTS_MODEL="m@3"), ["score_events"]).score_events.model == "m@3"
