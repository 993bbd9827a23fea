"""Faults of what the jobs stand on: Redis, catalog, files, and the way to the broker."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import redis

from features.feast_bytes import entity_key
from features.online_keys import JOIN_KEY, PROJECT
from infra.config import Settings
from infra.stack import flink_rest
from jobs.chaos.actions import USERS, user_name
from jobs.chaos.ground import Ground
from jobs.chaos.proxy import ADD_PARTITIONS, END_TRANSACTION, Weather
from jobs.chaos.reader import ACTIONS, LETTERS, PREDICTIONS

_FIND_SECONDS = 30.0


def freeze_redis(ground: Ground, rng: random.Random) -> str:
    """Redis stands still: shorter or longer than a batch waits for it."""
    seconds = rng.choice((rng.uniform(0.5, 3), ground.settings.score_events.redis_wait_seconds + rng.uniform(2, 6)))
    ground.struck()
    with ground.frozen("redis"):
        time.sleep(seconds)
    return f"Redis stood still for {seconds:.1f} s"


def empty_redis(ground: Ground, rng: random.Random) -> str:
    """FLUSHALL: a store that was lost, or a failover to an empty one."""
    with _redis(ground.settings) as client:
        keys = client.dbsize()
        client.flushall()
    ground.struck()
    return f"deleted all {keys} keys of Redis"


def fill_redis(ground: Ground, rng: random.Random) -> str:
    """No room: Redis refuses every write for some seconds."""
    seconds = rng.uniform(2, 6)
    with _redis(ground.settings) as client:
        client.config_set("maxmemory", "1mb")
        ground.struck()
        try:
            time.sleep(seconds)
        finally:
            client.config_set("maxmemory", ground.settings.redis.max_memory)
    return f"Redis was full for {seconds:.1f} s"


def wrong_type_in_redis(ground: Ground, rng: random.Random) -> str:
    """Another program writes a text where a user's row stands."""
    users = [user_name(number) for number in rng.sample(range(USERS), 3)]
    with _redis(ground.settings) as client:
        for user in users:
            client.set(entity_key(PROJECT, JOIN_KEY, user), "not a row")
    ground.struck()
    return f"wrote a text over the rows of {', '.join(users)}"


def lock_catalog(ground: Ground, rng: random.Random) -> str:
    """Somebody holds the catalog's sqlite file, shorter or longer than a writer waits for it."""
    seconds = rng.choice((rng.uniform(1, 5), rng.uniform(12, 20)))
    with closing(sqlite3.connect(ground.settings.lake.database, timeout=30, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        ground.struck()
        time.sleep(seconds)
        connection.execute("ROLLBACK")
    return f"the catalog was locked for {seconds:.1f} s"


def no_room_for_checkpoints(ground: Ground, rng: random.Random) -> str:
    """Nothing can be written where the scoring job keeps its checkpoints, as on a full disk."""
    seconds = rng.uniform(2, 6)
    folder = flink_rest.checkpoint_folder(ground.settings, "score_events")
    newest = max((job for job in folder.iterdir() if job.is_dir()), key=lambda job: job.stat().st_mtime)
    with _taken_away(newest):
        ground.struck()
        time.sleep(seconds)
    return f"the folder of checkpoints took nothing for {seconds:.1f} s"


def no_room_for_tables(ground: Ground, rng: random.Random) -> str:
    """Nothing can be written where a table keeps its data files."""
    seconds, table = rng.uniform(2, 8), rng.choice((ACTIONS, PREDICTIONS, LETTERS)).replace("-", "_")
    with _taken_away(ground.settings.lake.own_warehouse / ground.settings.lake.namespace / table / "data"):
        ground.struck()
        time.sleep(seconds)
    return f"the data folder of table {table} took nothing for {seconds:.1f} s"


@contextlib.contextmanager
def _taken_away(folder: Path) -> Iterator[None]:
    """A file stands where the folder was, so that nobody makes it again, as long as the block runs."""
    away = folder.with_name(f"{folder.name}.away")
    folder.rename(away)
    folder.touch()
    try:
        yield
    finally:
        folder.unlink(missing_ok=True)
        if away.exists():  # a start of the job deletes what an earlier run left
            away.rename(folder)


def corrupt_checkpoint(ground: Ground, rng: random.Random) -> str:
    """A byte of the newest checkpoint is flipped, or a file of it deleted; then the JobManager dies, which knew it by heart."""
    damaged = _damage(ground.settings, rng)
    return f"{damaged} and killed JobManager {ground.kill('jobmanager')}"


def _damage(settings: Settings, rng: random.Random) -> str:
    folder = flink_rest.checkpoint_folder(settings, "score_events")
    deadline = time.monotonic() + _FIND_SECONDS
    while True:
        # one that is a second old may be deleted meanwhile
        with contextlib.suppress(OSError, ValueError):
            newest = max(folder.glob("*/chk-*/_metadata"), key=lambda file: file.stat().st_mtime)
            if rng.random() < 0.5:
                content = bytearray(newest.read_bytes())
                place = rng.randrange(len(content))
                content[place] ^= 1 << rng.randrange(8)
                newest.write_bytes(content)
                return f"flipped a bit of byte {place} of {newest.parent.name}/_metadata"
            file = rng.choice(sorted(path for path in newest.parent.rglob("*") if path.is_file()))
            file.unlink()
            return f"deleted {newest.parent.name}/{file.name}"
        if time.monotonic() > deadline:
            return "found no checkpoint to damage"
        time.sleep(0.05)


def slow_transactions(ground: Ground, rng: random.Random) -> str:
    """Requests that open and end transactions reach the broker late."""
    delay, seconds = rng.uniform(0.2, 1.5), rng.uniform(4, 8)
    met = _weather_that_meets(ground, Weather(delay=delay, delayed=frozenset({ADD_PARTITIONS, END_TRANSACTION})), seconds)
    return f"held {met} AddPartitionsToTxn and EndTxn back for {delay:.1f} s each"


def lost_commit_answers(ground: Ground, rng: random.Random) -> str:
    """The broker commits, and the connection ends before its answer comes back."""
    seconds = rng.uniform(2, 5)
    met = _weather_that_meets(ground, Weather(answers_lost=frozenset({END_TRANSACTION})), seconds)
    return f"lost the answers to {met} EndTxn"


def _weather_that_meets(ground: Ground, weather: Weather, seconds: float) -> int:
    """Bad weather for so many seconds, and until it has met a request; answers how many it met."""
    before, deadline = ground.proxy.struck, time.monotonic() + _FIND_SECONDS
    ground.struck()
    with ground.proxy.weather(weather):
        time.sleep(seconds)
        while ground.proxy.struck == before and time.monotonic() < deadline:
            time.sleep(0.1)
    return ground.proxy.struck - before


def slow_wire(ground: Ground, rng: random.Random) -> str:
    """Every request reaches the broker late: backpressure from the sinks on."""
    delay, seconds = rng.uniform(0.05, 0.3), rng.uniform(4, 10)
    ground.struck()
    with ground.proxy.weather(Weather(delay=delay)):
        time.sleep(seconds)
    return f"each request to the broker took {delay:.2f} s longer for {seconds:.1f} s"


def silent_wire(ground: Ground, rng: random.Random) -> str:
    """Connections to the broker stay open and nothing passes."""
    seconds = rng.uniform(2, 12)
    ground.struck()
    with ground.proxy.weather(Weather(silent=True)):
        time.sleep(seconds)
    return f"nothing passed to or from the broker for {seconds:.1f} s"


def cut_wire(ground: Ground, rng: random.Random) -> str:
    """Every connection to the broker ends, and none can be made."""
    seconds = rng.uniform(0.5, 8)
    ground.struck()
    with ground.proxy.weather(Weather(cut=True)):
        time.sleep(seconds)
    return f"the broker was out of reach for {seconds:.1f} s"


@contextlib.contextmanager
def _redis(settings: Settings) -> Iterator[Any]:
    client: Any = redis.Redis(host=settings.redis.host, port=settings.redis.port, socket_timeout=10)
    try:
        yield client
    finally:
        client.close()
