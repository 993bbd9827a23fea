"""How many events a second become rows of `order_summaries`, from a broker to SQLite and to PostgreSQL, and how soon one event is read.

    .streamhouse/env/bin/python -m tests.benchmarks.projections [--orders N] [--batch N] [--json FILE]

It ends with 1 when a row is other than its events say.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from infra.config import Settings, load_settings
from jobs.patterns.database import open_database
from jobs.patterns.project import BATCH, Projecting, catch_up
from jobs.patterns.read_models import switch, wait_for
from jobs.patterns.rebuild import rebuild
from tests.brokers import own_broker
from tests.integration.read_models.shop import Shop, as_stored, new_shop
from tests.order_events import expected_summaries, lives
from tests.postgres import running_postgres

_SINGLE = 50  # events that are sent one by one


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--orders", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        own_broker(Path(folder)) as settings,
        running_postgres() as postgres,
        new_shop(settings) as shop,
    ):
        events = lives(1, arguments.orders)
        for start in range(0, len(events), 20_000):
            shop.send(events[start : start + 20_000])
        shared = {"STREAMHOUSE_STATE": folder, "STREAMHOUSE_KAFKA_PORT": str(settings.kafka.port)}
        there = {"sqlite": load_settings(shared), "postgresql": load_settings({**shared, "STREAMHOUSE_READ_MODELS_URL": postgres.url})}
        found = {name: _measured(shop, one, arguments.batch, len(events)) for name, one in there.items()}
        expected = as_stored(expected_summaries(events))
        wrong = [name for name, one in there.items() if not _is_right(shop, one, expected)]
    for name, numbers in found.items():
        print(name, ", ".join(f"{key} {value:,}" for key, value in numbers.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps(found), "utf-8")
    if wrong:
        sys.exit(f"rows differ from their events: {', '.join(wrong)}")


def _measured(shop: Shop, settings: Settings, batch: int, events: int) -> dict[str, Any]:
    database = open_database(settings)
    here, projection = replace(shop, settings=settings, database=database), shop.summaries
    begun = time.perf_counter()
    catch_up(settings, database, projection, projecting=Projecting(settings, database, projection, batch))
    caught_up = time.perf_counter()
    switch(database, projection)
    rebuild(settings, database, replace(projection, version=2))
    rebuilt = time.perf_counter()
    waits = []
    with here.following(replace(projection, version=2)):
        for event in lives(2, _SINGLE, first=10**6)[:_SINGLE]:
            sent = time.perf_counter()
            here.send([event])
            assert wait_for(database, projection, event.data.aggregate_id, event.aggregate_version or 0, 30)
            waits.append(time.perf_counter() - sent)
    database.dispose()
    return {
        "events": events,
        "events a second": round(events / (caught_up - begun)),
        "events a second rebuilt, compared and switched": round(events / (rebuilt - caught_up)),
        "ms from sending one to reading it, p50": round(statistics.median(waits) * 1000),
        "ms from sending one to reading it, most": round(max(waits) * 1000),
    }


def _is_right(shop: Shop, settings: Settings, expected: dict[str, Any]) -> bool:
    database = open_database(settings)
    try:
        seen = replace(shop, database=database).seen(shop.summaries)
    finally:
        database.dispose()
    return {key: row for key, row in seen.items() if key in expected} == expected


if __name__ == "__main__":
    main()
