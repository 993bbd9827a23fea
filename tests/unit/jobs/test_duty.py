"""The duties of keeper and meter: each by itself, never twice at once, and none ends the others."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from infra.errors import StreamhouseError
from jobs.duty import Duty


def looked(duty: Duty, pool: ThreadPoolExecutor, *times: float) -> None:
    for now in times:
        duty.look(pool, now)
        if duty.under_way is not None:
            wait([duty.under_way], timeout=10)


def test_a_duty_is_done_when_it_is_due() -> None:
    done: list[float] = []
    with ThreadPoolExecutor(1) as pool:
        looked(Duty(10.0, lambda: done.append(time.monotonic())), pool, 0, 1, 9.9, 10, 11, 25)
    assert len(done) == 3


def test_a_duty_that_takes_long_is_not_begun_again() -> None:
    begun, go_on = [], threading.Event()

    def long() -> None:
        begun.append(1)
        go_on.wait(10)

    with ThreadPoolExecutor(2) as pool:
        duty = Duty(1.0, long)
        for now in (0.0, 2.0, 4.0):
            duty.look(pool, now)
        go_on.set()
        assert duty.under_way is not None
        wait([duty.under_way], timeout=10)
        looked(duty, pool, 6.0)
    assert len(begun) == 2


def test_what_a_duty_raises_is_said_once_in_a_row_and_it_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    faults = iter(["redis is away", "redis is away", "", "redis is away"])

    def failing() -> None:
        if words := next(faults):
            raise StreamhouseError(words)

    def wrong() -> None:
        message = "division by zero"
        raise ZeroDivisionError(message)

    with ThreadPoolExecutor(1) as pool, caplog.at_level(logging.WARNING, "duty"):
        looked(Duty(1.0, failing), pool, 0, 1, 2, 3)
        duty = Duty(1.0, wrong)  # a fault of the keeper's own, with the place where it happened
        looked(duty, pool, 0)
        duty.look(pool, 0.5)
    said = [record.getMessage() for record in caplog.records]
    assert said == ["redis is away", "division by zero"]
    assert [bool(record.exc_info) for record in caplog.records] == [False, True]
