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
from typing import Any

import redis
from redis.exceptions import LockError

from features.apply import feature_store
from features.foreign_rows import clear_foreign
from features.online_keys import LIFE, MATERIALIZED, PROFILE
from infra.config import Settings, load_settings
from infra.errors import StreamhouseError

_BEGINNING = datetime(2015, 1, 1, tzinfo=UTC)
_SECONDS = 120.0
_TRIES = 3
_LOCK_SECONDS = 30.0  # a worker that is killed while it holds the lock keeps the others waiting no longer

# both: a value that neither a restart of Redis, nor a store that was emptied, nor a row that was cleared leaves as it was
_WHICH = """
local function which()
  return (redis.call('GET', KEYS[1]) or '')..' '..string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
end
"""
_LIFE = f"""{_WHICH}
local now = redis.call('TIME')
redis.call('SET', KEYS[1], now[1]..'.'..now[2], 'NX')
return which()
"""
_DONE = f"""{_WHICH}
if which() ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2])
return 1
"""


class ProfilesMissingError(StreamhouseError):
    """The online store has no profiles, and they could not be brought into it."""


def materialize_profiles(settings: Settings, until: datetime) -> None:
    """Bring every profile known before `until` into the online store; each row keeps the time from which it was known.

    What another program wrote in place of rows is deleted before, since Feast's writer stumbles over it.

    Raises:
        ProfilesMissingError: the store lost data each time while it was filled.

    """
    with closing(_redis(settings)) as client:
        for _ in range(_TRIES):
            clear_foreign(client)
            life = client.eval(_LIFE, 1, LIFE)
            with contextlib.redirect_stdout(io.StringIO()):  # Feast prints as it goes
                feature_store(settings).materialize(_BEGINNING, until, feature_views=[PROFILE])
            if client.eval(_DONE, 2, LIFE, MATERIALIZED, life, until.isoformat()):
                return
    message = f"the online store lost data {_TRIES} times while profiles were brought into it; see `./streamhouse logs redis`"
    raise ProfilesMissingError(message)


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


def _redis(settings: Settings) -> Any:  # noqa: ANN401 - redis-py's types know text only
    return redis.Redis(host=settings.redis.host, port=settings.redis.port, socket_timeout=10.0, socket_connect_timeout=10.0)


if __name__ == "__main__":
    materialize_profiles(load_settings(), datetime.now(UTC))
