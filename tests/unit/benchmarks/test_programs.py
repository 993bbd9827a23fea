"""A program that is measured is waited for so long and no longer, and its death is told with what it said."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from infra.errors import StreamhouseError
from tests.benchmarks.programs import Program, running

PLAYS_BY_THE_RULES = "import sys; print('ready', flush=True); sys.stdin.read()"


def test_one_that_is_ready_runs_until_its_input_ends(tmp_path: Path) -> None:
    with running("the rival x", [sys.executable, "-c", PLAYS_BY_THE_RULES], os.environ, tmp_path, tmp_path / "said") as program:
        program.wait_until_ready()
        program.check()
    assert program.process.returncode == 0


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("print('loading'); raise SystemExit('no such model')", "the rival x ended with status 1; it said last: loading\nno such model"),
        ("import os; os._exit(3)", "the rival x ended with status 3; it said nothing"),
        ("import time; print('already', flush=True); time.sleep(60)", "the rival x is not ready after 3 s; it said last: already"),
    ],
)
def test_one_that_dies_or_is_never_ready_is_quoted(code: str, said: str, tmp_path: Path) -> None:
    began = time.monotonic()
    with (
        pytest.raises(StreamhouseError) as raised,
        running("the rival x", [sys.executable, "-c", code], os.environ, tmp_path, tmp_path / "said") as program,
    ):
        program.wait_until_ready(3)
    assert str(raised.value) == said
    assert time.monotonic() - began < 30


def test_a_death_after_it_was_ready_is_noticed_at_the_next_look(tmp_path: Path) -> None:
    code = "print('ready', flush=True); input(); raise SystemExit('out of memory')"

    def until_it_dies(program: Program) -> None:
        program.wait_until_ready()
        program.check()
        assert program.process.stdin is not None
        program.process.stdin.write(b"\n")
        program.process.stdin.flush()
        program.process.wait(30)
        program.check()

    with (
        pytest.raises(StreamhouseError, match="ended with status 1; it said last: ready\nout of memory"),
        running("the rival x", [sys.executable, "-c", code], os.environ, tmp_path, tmp_path / "said") as program,
    ):
        until_it_dies(program)
