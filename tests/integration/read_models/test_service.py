"""The service itself, over a broker that goes away and comes back, until it is told to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError

from infra.config import ROOT, Settings, load_settings
from jobs.patterns.database import open_database, reading
from jobs.patterns.lag import lags
from jobs.patterns.patience import why
from jobs.shop.project import PROJECTIONS
from tests.brokers import embedded_broker
from tests.integration.read_models.shop import as_stored, new_shop
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
            _, said = service.communicate(timeout=30)
            assert service.returncode == 0, said
    finally:
        if service is not None and service.poll() is None:
            service.kill()
            service.communicate()


def test_a_password_is_in_nothing_that_is_said(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    url = f"postgresql://shop:canary@127.0.0.1:{port}/shop"
    database = open_database(load_settings({"STREAMHOUSE_STATE": str(tmp_path), "STREAMHOUSE_READ_MODELS_URL": url}))
    with pytest.raises(DBAPIError) as refused, reading(database):
        pass
    assert "canary" not in f"{why(refused.value)} {refused.value} {database!r}"
    assert why(refused.value).startswith("the database says: connection failed")


def _wait_until_behind(settings: Settings, records: int) -> None:
    database, deadline = open_database(settings), time.monotonic() + 60
    try:
        while True:
            found = [lag for projection in PROJECTIONS for lag in lags(settings, database, projection.name)]
            if len(found) == len(PROJECTIONS) and all(lag.records <= records and lag.behind for lag in found):
                return
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        database.dispose()
