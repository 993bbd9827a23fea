"""A brake that is pulled lasts until a person releases it, and what was counted before a release does not pull it again."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.config import Settings, load_settings
from infra.errors import StreamhouseError
from infra.stack import brakes

NAME = "score_events"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"STREAMHOUSE_STATE": str(tmp_path)})


def test_a_pulled_brake_refuses_a_start_with_its_sentence_until_it_is_released(settings: Settings) -> None:
    brakes.refuse_while_pulled(settings, NAME)
    assert brakes.pull(settings, NAME, "9 of 10 were rejected", 0)
    assert not brakes.pull(settings, NAME, "once more", 0)
    with pytest.raises(StreamhouseError, match="the brake holds score_events: 9 of 10 were rejected"):
        brakes.refuse_while_pulled(settings, NAME)
    brakes.release(settings, NAME, 1000)
    brakes.refuse_while_pulled(settings, NAME)
    assert brakes.released_ms(settings, NAME) == 1000


def test_what_was_counted_from_before_a_release_does_not_pull_it(settings: Settings) -> None:
    brakes.release(settings, NAME, 1000)
    assert not brakes.pull(settings, NAME, "counted while a person released it", 999)
    assert brakes.pulled(settings) == {}
    assert brakes.pull(settings, NAME, "counted since", 1000)
    assert brakes.pulled(settings) == {NAME: "counted since"}
