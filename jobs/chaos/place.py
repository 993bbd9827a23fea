"""The stack that is broken on purpose: its own folder, free ports, a proxy before its broker, short times, secrets that no log may hold."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from rich.console import Console

from infra.config import Settings
from infra.stack.apart import clear, free_ports, settings_apart, silent
from infra.stack.stack import down, up
from jobs import apply
from jobs.chaos.actions import START_MS, USERS, user_name
from jobs.chaos.process_faults import TRANSACTION_SECONDS
from jobs.chaos.proxy import Proxy
from jobs.submit import JOBS, submit
from lakehouse.append import append

PASSWORD = "canary-of-the-password-5b1e0c"
PAYLOAD = "canary-of-the-payload-93d7aa"
"""Stands in every event as a part of its session and correlation ids."""
_SETTINGS = {
    "SCORE_EVENTS_PARALLELISM": "2",
    "SCORE_EVENTS_REDIS_WAIT_SECONDS": "8",
    "SCORE_EVENTS_TRANSACTION_TIMEOUT_SECONDS": str(TRANSACTION_SECONDS),
    "KEEPER_LOST_SECONDS": "10",
    "ARCHIVE_TOPICS_CHECKPOINT_INTERVAL": "2s",
    "ARCHIVE_TOPICS_MAINTAIN_EVERY_COMMITS": "5",
    "ARCHIVE_TOPICS_SNAPSHOT_SECONDS": "60",
    "ARCHIVE_TOPICS_SNAPSHOTS": "60",  # two minutes of commits: the keeper copies receipts every minute
    "KAFKA_PASSWORD": PASSWORD,
    "KAFKA_USERNAME": "someone",
    "KAFKA_SASL_MECHANISM": "PLAIN",
}


@dataclass
class Place:
    """A running stack with both jobs; `keep` may be set until the end."""

    settings: Settings
    proxy: Proxy
    keep: bool = False


@contextlib.contextmanager
def broken_on_purpose(state: Path, *, keep: bool = False) -> Iterator[Place]:
    """From nothing to both jobs running. It is ended in any case, and its folder deleted unless `keep` was set or the block raised."""
    (listen,) = free_ports(8)[7:]  # behind those that the stack takes
    settings = settings_apart(state, KAFKA_LISTEN_PORT=listen, **_SETTINGS)
    clear(settings)
    with Proxy(settings.kafka.port, int(listen)) as proxy:
        place = Place(settings, proxy, keep)
        try:
            start(settings)
            yield place
        except BaseException:
            place.keep = True
            raise
        finally:
            if place.keep:
                down(settings, silent, savepoints=False)
            else:
                clear(settings)


def start(settings: Settings) -> None:
    """Up, applied, profiles of every other user in the store, both jobs submitted."""
    up(settings, silent)
    apply.main(settings, console=Console(quiet=True))
    with ThreadPoolExecutor(1) as pool:
        brought = pool.submit(_bring_profiles, settings)
        submit(settings, *JOBS)
        brought.result()


def profiles() -> pa.Table:
    """Rows of user_profiles for every other user; the rest are to be flagged."""
    users = range(0, USERS, 2)
    known = pa.array([(START_MS - 1000) * 1000] * len(users), pa.timestamp("us", "UTC"))
    columns = {
        "user_id": pa.array([user_name(number) for number in users]),
        "channel": pa.array([("mail", "ads", "direct")[number % 3] for number in users]),
        "cohort": pa.array([f"2024-{1 + number % 6:02}" for number in users]),
        "known_from": known,
        "created": known,
    }
    return pa.table(columns)


def _bring_profiles(settings: Settings) -> None:
    from features.materialize import materialize_profiles

    append(settings, "user_profiles", profiles(), "chaos")
    materialize_profiles(settings, datetime.now(UTC))
