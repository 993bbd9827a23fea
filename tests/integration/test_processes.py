"""Processes that share a reading leave nothing behind, however the one that began them ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from multiprocessing import resource_tracker
from pathlib import Path

import psutil
import pytest

from infra.config import ROOT
from infra.errors import StreamhouseError
from jobs import processes

_PROGRAM = "from tests.integration.test_processes import share; share()"


def nothing() -> None:
    """How each begins."""


def count(steps: int) -> int:
    """So many steps of a hundredth of a second, and which process did them."""
    for _ in range(steps):
        time.sleep(0.01)
        processes.advance(1)
    return os.getpid()


def count_in_company(steps: int, folder: Path) -> int:
    """As `count`, once another process has come to the folder, too: one that begins late would find all of it done."""
    (folder / str(os.getpid())).touch()
    for _ in range(6000):
        if len(list(folder.iterdir())) > 1:
            return count(steps)
        time.sleep(0.01)
    raise StreamhouseError("no other process came within a minute")


def fail(steps: int) -> int:
    """Fails after so many steps."""
    count(steps)
    raise StreamhouseError("a fault")


def cannot_begin() -> None:
    """How one begins whose model is not there."""
    raise StreamhouseError("no such model")


def share() -> None:
    """A minute of work for two processes; told once both are under way."""
    processes.prepare(__name__)
    try:
        with processes.begun(2, nothing) as (pool, passed):
            under_way = [pool.submit(count, 6000) for _ in range(2)]
            while passed() < 20:
                time.sleep(0.01)
            print("ready", flush=True)
            processes.all_done(under_way, lambda: None, time.sleep)
    finally:
        print("ended in order", flush=True)


def test_steps_are_counted_over_all_and_each_process_is_another(tmp_path: Path) -> None:
    with processes.begun(2, nothing) as (pool, passed):
        told: list[int] = []
        done = processes.all_done(
            [pool.submit(count_in_company, 20, tmp_path) for _ in range(2)], lambda: told.append(passed()), time.sleep
        )
    assert (len(set(done)), os.getpid() in done) == (2, False)
    assert (told[-1], told) == (40, sorted(told))


def test_what_is_under_way_ends_at_its_next_step_when_another_fails() -> None:
    began = time.monotonic()
    with pytest.raises(StreamhouseError, match="a fault"), processes.begun(2, nothing) as (pool, _):
        processes.all_done([pool.submit(count, 6000), pool.submit(fail, 5)], lambda: None, time.sleep)
    assert time.monotonic() - began < 45


def test_a_process_that_cannot_begin_says_why() -> None:
    with pytest.raises(StreamhouseError, match="no such model"), processes.begun(2, cannot_begin) as (pool, _):
        processes.all_done([pool.submit(count, 1)], lambda: None, time.sleep)


def kill_one() -> None:
    """Kills one of two processes in the midst of its work."""
    with processes.begun(2, nothing) as (pool, _):
        victim = pool.submit(count, 1).result()
        under_way = [pool.submit(count, 6000) for _ in range(2)]
        os.kill(victim, signal.SIGKILL)
        processes.all_done(under_way, lambda: None, time.sleep)


def test_a_process_that_was_killed_is_said_in_a_sentence() -> None:
    with pytest.raises(StreamhouseError, match="was killed"):
        kill_one()


def lose(which: int) -> None:
    """Kills one of two processes that wait for work: one of them holds the lock of their queue."""
    resource_tracker.ensure_running()  # as where a command has used it before: processes that are begun then do not hear SIGTERM
    with tempfile.TemporaryDirectory() as folder, processes.begun(2, nothing) as (pool, _):
        waiting = sorted(one.result() for one in [pool.submit(count_in_company, 1, Path(folder)) for _ in range(2)])
        time.sleep(0.5)
        os.kill(waiting[which], signal.SIGKILL)
        processes.all_done([pool.submit(count, 6000) for _ in range(2)], lambda: None, time.sleep)


@pytest.mark.parametrize("which", [0, 1])
def test_one_that_was_killed_while_it_waited_for_work_holds_nobody_up(which: int) -> None:
    program = f"from tests.integration.test_processes import lose; lose({which})"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert "was killed" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_however_the_first_process_ends(number: signal.Signals) -> None:
    command = [sys.executable, "-c", _PROGRAM]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "ready\n"
        family = psutil.Process(first.pid).children(recursive=True)
        assert len(family) >= 3  # the one that imported, and its copies
        if number is signal.SIGINT:
            os.killpg(first.pid, number)  # as a terminal sends it: to each of them
        else:
            first.send_signal(number)
        out, err = first.communicate(timeout=120)
    _, left = psutil.wait_procs(family, timeout=60)
    assert left == []
    if number is signal.SIGINT:
        assert (out, err.count("Traceback")) == ("ended in order\n", 1)  # of the first alone: the others did not hear it
