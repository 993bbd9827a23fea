"""A backfill that dies at any point, or is not alone, and is run again: each offset of the log is in the table exactly once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from filelock import FileLock

from infra.config import ROOT, Settings
from jobs.backfill.run import OtherRunError, Outcome, backfill
from lakehouse.read import read
from lakehouse.scores import OvertakenError, add, filled
from lakehouse.tags import histories
from tests.audited import Archive, Writer
from tests.integration.backfill.logs import (
    TABLE,
    Killed,
    Row,
    answers,
    champion,
    forget,
    killed_at,
    send,
    some_actions,
    system,
    table_rows,
)

ROWS = 90
_DIES = """
import os, signal, sys
from infra.config import load_settings
from jobs.backfill.run import backfill
from jobs.published_models import published_model
from jobs.scoring_parts import models_folder

seen = []

def reached(what):
    seen.append(what)
    if seen.count(sys.argv[1]) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

settings = load_settings()
backfill(settings, published_model(models_folder(settings), "purchase_30m@1"), "backfill-dies", rows=90, reached=reached)
"""


@pytest.fixture(scope="module")
def log(broker: Settings, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, dict[tuple[int, int], Row]]:
    """Three hundred actions archived and a hundred more in the topic alone; and the answers to all."""
    settings = system(broker, tmp_path_factory.mktemp("killed") / "state")
    shop, archive, actions = Writer(settings, "shop"), Archive(settings), some_actions(400)
    send(shop, actions[:300])
    archive.follow("user-actions")
    send(shop, actions[300:])
    return settings, answers(settings, champion(settings))


@pytest.fixture
def settings(log: tuple[Settings, dict[tuple[int, int], Row]]) -> Settings:
    """The same without scores."""
    forget(log[0])
    return log[0]


@pytest.fixture
def expected(log: tuple[Settings, dict[tuple[int, int], Row]]) -> dict[tuple[int, int], Row]:
    """What the table must hold."""
    return log[1]


def run(settings: Settings, reached: Callable[[Any], None] = lambda _: None) -> Outcome:
    return backfill(settings, champion(settings), "backfill-test", rows=ROWS, reached=reached)


def test_killed_before_or_after_any_commit_and_run_again(settings: Settings, expected: dict[tuple[int, int], Row]) -> None:
    commits = run(settings).snapshots
    assert commits == len(expected) // ROWS + 1 == 5
    for number in range(1, commits + 1):
        for point in ("files", "commit"):
            forget(settings)
            with pytest.raises(Killed):
                run(settings, killed_at(point, number))
            there = number - (point == "files")
            held = table_rows(settings)
            assert len(held) == min(there * ROWS, len(expected))
            assert held.items() <= expected.items()
            outcome = run(settings)
            assert outcome.rows == len(expected) - len(held)
            assert table_rows(settings) == expected


def test_killed_at_every_boundary_in_turn(settings: Settings, expected: dict[tuple[int, int], Row]) -> None:
    deaths = 0
    while True:
        point = ("files", "commit")[deaths % 2]
        try:
            last = run(settings, killed_at(point, 1))
        except Killed:
            deaths += 1
        else:
            break
    assert (deaths, last.snapshots) == (10, 0)
    assert table_rows(settings) == expected


@pytest.mark.parametrize(("point", "number", "there"), [("files", 3, 2), ("commit", 2, 2)])
def test_a_process_that_is_killed_leaves_nothing_in_the_way(
    settings: Settings, expected: dict[tuple[int, int], Row], point: str, number: int, there: int
) -> None:
    environment = {**os.environ, **settings.environment, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", _DIES, point, str(number)], env=environment, cwd=ROOT, check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert len(table_rows(settings)) == there * ROWS
    assert run(settings).rows == len(expected) - there * ROWS
    assert table_rows(settings) == expected


def test_a_second_run_is_refused_while_one_runs(settings: Settings, expected: dict[tuple[int, int], Row]) -> None:
    refused = 0

    def again(_: str) -> None:
        nonlocal refused
        with pytest.raises(OtherRunError, match=f"table `{TABLE}`: expected to fill it alone, but another run does so now"):
            run(settings)
        refused += 1

    run(settings, again)
    assert refused == 10
    assert table_rows(settings) == expected
    with FileLock(settings.state / "backfill-scores_other_v1.lock", timeout=0):  # of another table
        assert run(settings).snapshots == 0


def test_a_lost_race_adds_nothing(settings: Settings, expected: dict[tuple[int, int], Row]) -> None:
    """Two runs on two machines, which no lock of files keeps apart."""

    def other(what: str) -> None:
        state = filled(settings, TABLE)
        if what == "files" and len(state.offsets) == 1:
            rows = read(settings, TABLE).slice(0, 0)
            add(settings, TABLE, rows, state, {**state.offsets, 0: state.offsets[0] + 1}, {"streamhouse.made-by": "another"})

    with pytest.raises(OvertakenError, match="another run writes it too; nothing was added, run this one again"):
        run(settings, other)
    held = table_rows(settings)
    assert len(held) == ROWS
    files = list((settings.lake.own_warehouse / settings.lake.namespace / TABLE / "data").rglob("*.parquet"))
    assert len(files) == 1  # those of the lost commit are gone
    skipped = filled(settings, TABLE).offsets[0] - 1  # the other said that it had this one
    run(settings)
    assert table_rows(settings) == {place: row for place, row in expected.items() if place != (0, skipped)}


def test_nothing_stays_held_but_what_a_killed_process_held(settings: Settings) -> None:
    run(settings)
    names = {one.name for one in histories(settings, ["user_actions"])}
    assert names <= {"backfill-dies"}
