"""The service itself, over a broker that goes away and comes back, until it is told to end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError

from infra.config import ROOT, Settings, load_settings
from infra.stack.services import beat_file
from jobs.patterns.database import open_database, reading
from jobs.patterns.lag import lags
from jobs.patterns.patience import why
from jobs.patterns.projection import Projection, Row
from jobs.patterns.read_models import drop, live_version
from jobs.patterns.rebuild import rebuild
from jobs.patterns.recorded import Recorded
from jobs.shop.order_summaries import fold as fold_order
from jobs.shop.project import NAME, PROJECTIONS, keep_all
from tests.brokers import embedded_broker
from tests.integration.read_models.shop import Shop, as_stored, new_shop
from tests.order_events import expected_predictions, expected_summaries, lives, predictions_of
from tests.ports import free_ports


def test_the_service_keeps_all_read_models_over_a_broker_that_comes_back(tmp_path: Path) -> None:
    clients, controller = free_ports(2)
    there = {"STREAMHOUSE_KAFKA_PORT": clients, "STREAMHOUSE_KAFKA_CONTROLLER_PORT": controller}
    settings = load_settings({"STREAMHOUSE_STATE": str(tmp_path / "state"), **there})
    events = lives(31, 30)
    answers = predictions_of(31, events)
    environment = {**os.environ, **settings.environment, "PYTHONPATH": str(ROOT)}
    service = None
    try:
        with embedded_broker(settings), new_shop(settings, "orders", "predictions") as shop:
            service = subprocess.Popen([sys.executable, "-m", "jobs.shop.project"], env=environment, stderr=subprocess.PIPE, text=True)
            shop.send(events[:50])
            _wait_until_behind(settings, 0)
        with embedded_broker(settings), new_shop(settings, "orders", "predictions") as shop:
            shop.send([*answers, *events[50:]])
            _wait_until_behind(settings, 0)
            assert shop.seen(PROJECTIONS[0]) == as_stored(expected_summaries(events))
            assert shop.seen(PROJECTIONS[1]) == expected_predictions([*events, *answers])
            service.send_signal(signal.SIGTERM)
            _, said = service.communicate(timeout=120)
            assert service.returncode == 0, said
    finally:
        if service is not None and service.poll() is None:
            service.kill()
            service.communicate()


def test_a_read_model_that_is_dropped_or_differs_is_built_anew_or_told_and_holds_up_no_other(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    first, other = shop.summaries, shop.joined
    events = lives(33, 20)
    shop.send([*events, *predictions_of(33, events)])
    wrong = replace(first, version=2, parts=(replace(first.parts[0], fold=_stubborn),))
    with _serving(shop, first, other):
        _until(lambda: _shown(shop, first) == 1 and _shown(shop, other) == 1)
        drop(shop.database, first.name, 1, live=True)  # nothing is sent: it is seen all the same
        _until(lambda: _shown(shop, first) == 1)
        assert shop.seen(first) == as_stored(expected_summaries(events))
    beat = beat_file(shop.settings, NAME)
    with _serving(shop, wrong, other):
        shop.send(lives(34, 5, first=500))
        _until(lambda: any(name >= "order-00500" for name in shop.seen(other)))
        _until(lambda: "look at both, then" in caplog.text)
        beat.unlink(missing_ok=True)
        time.sleep(3)
        assert not beat.exists()  # so `status` names the service
        assert _shown(shop, first) == 1
        rebuild(shop.settings, shop.database, wrong, accept=True)
        _until(beat.exists)


@contextlib.contextmanager
def _serving(shop: Shop, *projections: Projection) -> Iterator[None]:
    stop = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        service = threads.submit(keep_all, shop.settings, projections, stop)
        try:
            yield
        finally:
            stop.set()
        service.result(30)


def _stubborn(row: Row | None, event: Recorded) -> Row | None:
    """Every order stays as it was placed."""
    return fold_order(None, event) if row is None else row


def _shown(shop: Shop, projection: Projection) -> int | None:
    with reading(shop.database) as connection:
        return live_version(connection, projection.name)


def _until(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 180
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_password_is_in_nothing_that_is_said(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    url = f"postgresql://shop:canary@127.0.0.1:{port}/shop"
    database = open_database(load_settings({"STREAMHOUSE_STATE": str(tmp_path), "STREAMHOUSE_READ_MODELS_URL": url}))
    with pytest.raises(DBAPIError) as refused, reading(database):
        pass
    assert "canary" not in f"{why(refused.value)} {refused.value} {database!r}"
    assert why(refused.value).startswith("the database says: connection failed")


def _wait_until_behind(settings: Settings, records: int) -> None:
    database, deadline = open_database(settings), time.monotonic() + 180
    try:
        while True:
            found = [lag for projection in PROJECTIONS for lag in lags(settings, database, projection.name)]
            if len(found) == len(PROJECTIONS) and all(lag.records <= records and lag.behind for lag in found):
                return
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        database.dispose()
