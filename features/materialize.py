"""The table user_profiles -> the online store, by Feast's own materialize; by itself where the store came back without them.

.streamhouse/env/bin/python -m features.materialize      what the stream starts; for people: ./streamhouse materialize
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime

import redis
from redis.exceptions import LockError

from features.apply import feature_store
from features.online import MATERIALIZED, PROFILE
from infra.config import Settings, load_settings
from infra.errors import StreamhouseError

_BEGINNING = datetime(2015, 1, 1, tzinfo=UTC)
_SECONDS = 120.0
_LOCK_SECONDS = 30.0  # a worker that is killed while it holds the lock keeps the others waiting no longer


class ProfilesMissingError(StreamhouseError):
    """The online store has no profiles, and they could not be brought into it."""


def materialize_profiles(settings: Settings, until: datetime) -> None:
    """Bring every profile known before `until` into the online store; each row keeps the time from which it was known."""
    with contextlib.redirect_stdout(io.StringIO()):  # Feast prints as it goes
        feature_store(settings).materialize(_BEGINNING, until, feature_views=[PROFILE])
    with closing(_redis(settings)) as client:
        client.set(MATERIALIZED, until.isoformat())


def restore_profiles(settings: Settings) -> None:
    """Bring the profiles into a store that lost them or never had them, before anything is scored; does nothing where they are.

    In a process of its own: importing Feast costs seconds, and its memory would stay. Workers that ask at once wait for one.

    Raises:
        ProfilesMissingError: Feast refused, with its own words.
        redis.ConnectionError: Redis is away.

    """
    with closing(_redis(settings)) as client:
        if client.exists(MATERIALIZED):
            return
        with contextlib.suppress(LockError), client.lock(f"{MATERIALIZED}:lock", timeout=_LOCK_SECONDS):
            if client.exists(MATERIALIZED):
                return
            done = subprocess.run(
                [sys.executable, "-m", "features.materialize"],
                env={**os.environ, **settings.environment},
                capture_output=True,
                text=True,
                check=False,
                timeout=_SECONDS,
            )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1][:300]
        message = f"the online store has no user profiles and Feast could not bring them: {said}; run `./streamhouse apply`"
        raise ProfilesMissingError(message)


def _redis(settings: Settings) -> redis.Redis:
    return redis.Redis(host=settings.redis.host, port=settings.redis.port, socket_timeout=10.0, socket_connect_timeout=10.0)


if __name__ == "__main__":
    materialize_profiles(load_settings(), datetime.now(UTC))
