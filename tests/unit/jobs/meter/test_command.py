"""What `./streamhouse meter` says, and what it answers to the shell."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.config import Settings, load_settings
from infra.stack import measured
from infra.stack.measured import Differs, Doing, Measured
from infra.stack.services import services
from jobs.cli import app
from jobs.meter.command import lines

NOW = 1_704_067_200_000
ONE = Differs("user_activity:actions_1h", "[u]", 1, 77, "3.0", "4.0", "another was served")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("STREAMHOUSE_STATE", str(tmp_path))
    return load_settings()


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["meter", *arguments], catch_exceptions=False)
    return done.exit_code, done.output


def test_nothing_was_measured_yet(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run() == (0, "nothing was measured yet: it has not begun; run `./streamhouse up`\n")
    assert json.loads(run("--json")[1]) == {"every": 20}
    monkeypatch.setenv("STREAMHOUSE_METER_EVERY", "0")
    assert run() == (0, "nothing was measured yet: it is off: setting `meter.every` is 0\n")


def test_all_is_equal(settings: Settings) -> None:
    measured.add(settings, Measured(measured=1500, equal=1500, not_measured=2), Doing(NOW))
    assert lines(measured.known(settings), 20, NOW) == [
        "since 2024-01-01 00:00:00 UTC: 1,500 predictions made again from the log, 1,500 equal to the byte, 2 not measured",
        "1,500 predictions (every 20th user) are as the log gives them",
    ]
    assert run()[0] == 0


def test_differences_are_shown_until_they_are_cleared(settings: Settings) -> None:
    score = Differs("score", "u", 1, 77, "0.1", "0.2", "it follows")
    found = Measured(measured=10, equal=8, counts=Counter({"score": 1, ONE.field: 7}), first=[score, ONE])
    measured.add(settings, found, Doing(NOW))
    code, said = run()
    assert code == 1
    assert said.splitlines()[1:] == [
        "user_activity:actions_1h  7",
        "  user_activity:actions_1h: user [u], action 1:77, served 3.0, the log gives 4.0; another was served",
        "  and 6 more",
        "score  1",
        "  score: user u, action 1:77, served 0.1, the log gives 0.2; it follows",
        "once the cause is mended, `./streamhouse meter --clear` counts anew",
    ]
    code, said = run("--json")
    told = json.loads(said)
    assert (code, told["measured"], told["differ"], told["counts"]) == (1, 10, 2, {"score": 1, ONE.field: 7})
    assert told["first"][1]["recomputed"] == "4.0"
    assert run("--clear") == (0, "forgotten: 10 measured predictions, 2 that differ; it counts anew\n")
    assert run()[0] == 0


def test_off_there_is_no_such_service() -> None:
    on, off = (load_settings({"STREAMHOUSE_METER_EVERY": every}) for every in ("5", "0"))
    assert {service.name for service in services(on)} - {service.name for service in services(off)} == {"meter"}
