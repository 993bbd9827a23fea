"""Faults one after the other under a steady stream, on one stack; at the end everything is counted. Long rounds: `./streamhouse chaos`.

Scores must be those of an unbroken run, bit for bit: the log is answered again in this process, and every prediction compared whole.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from infra.config import ROOT
from jobs.chaos import resources
from jobs.chaos.accounting import Count
from jobs.chaos.actions import GOOD, POISON
from jobs.chaos.place import broken_on_purpose
from jobs.chaos.round import Round, audited, troubles
from jobs.chaos.schedule import Draw
from tests.faults.seeds import KEPT, short_round

SEED = 20_240_629
RATE = 200.0
DRAWS = [*(kept.draw for kept in KEPT), *short_round()]  # those fold the whole log again: while it is short


@pytest.fixture(scope="module")
def broken(request: pytest.FixtureRequest) -> Iterator[Round]:
    """A stack of this file's own under traffic; kept in .streamhouse/faults when a test failed or KEEP_STACK is set."""
    before = request.session.testsfailed
    with broken_on_purpose(ROOT / ".streamhouse" / "faults", keep=bool(os.environ.get("KEEP_STACK"))) as place:
        one_round = Round(place, SEED, RATE)
        try:
            one_round.start()
            yield one_round
        finally:
            one_round.close()
        place.keep = place.keep or request.session.testsfailed > before


@pytest.fixture(scope="module")
def settled(broken: Round) -> Count:
    """No more traffic; every action is answered and in the tables, and counted."""
    return broken.settle()


@pytest.mark.parametrize("draw", DRAWS, ids=lambda draw: f"{draw.fault}-{draw.point}-{draw.seed}")
def test_the_job_comes_back(broken: Round, draw: Draw) -> None:
    assert not broken.lost, "it did not come back from an earlier fault"
    before = len(broken.found)
    strike = broken.strike(draw)
    print(f"{strike.said}; seconds: {strike.seconds}")
    assert broken.found[before:] == []
    assert strike.reached, f"the moment {draw.point} did not come: it proves nothing"
    assert all(seconds is not None for seconds in strike.seconds)


def test_every_action_is_answered_once_and_as_by_an_unbroken_run(settled: Count) -> None:
    assert settled.findings() == []


def test_the_audit_is_clean(broken: Round, settled: Count) -> None:
    assert audited(broken.settings, settled.sent) == []


def test_every_kind_of_action_was_among_them(broken: Round, settled: Count) -> None:
    assert set(settled.sent.by_kind()) == {"plain", *GOOD, *POISON}
    answers = settled.answers
    assert sum(map(sum, answers.predictions)) > sum(map(sum, answers.letters)) > 0


def test_who_read_on_all_the_time_saw_what_is_there(broken: Round, settled: Count) -> None:
    assert broken.reader.error is None
    assert settled.compared(broken.reader.answers) == []


def test_the_tables_hold_what_the_topics_hold(broken: Round, settled: Count) -> None:
    assert settled.tables(broken.settings) == []


def test_committed_offsets_never_fell_while_a_job_ran(broken: Round, settled: Count) -> None:
    assert broken.groups.falls.backwards(time.monotonic()) == []
    assert broken.groups.looks > len(DRAWS)


def test_everything_is_back_where_it_was(broken: Round, settled: Count) -> None:
    assert broken.found == []
    assert resources.left_behind(broken.settings) == []
    assert resources.grown(broken.before, resources.used(broken.settings)) == []
    assert troubles(broken.settings) == []


def test_no_secret_and_no_payload_stands_in_a_log(broken: Round, settled: Count) -> None:
    assert resources.told(broken.settings) == []
