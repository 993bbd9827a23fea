"""Users' states in Redis, for rivals that read those of a batch at once and write them back at once.

Nothing fences what is written, and it is written before the answers are: after a crash actions are counted twice.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, Protocol

import redis

from tests.benchmarks.rivals.work import FIELDS, User, Work

_BLOB = "rival:"
_CHUNK = 2000


class States(Protocol):
    """Where users' states lie."""

    def read(self, users: Iterable[str]) -> dict[str, User]:
        """The states of distinct users, those without a past included. One round trip."""

    def write(self, users: dict[str, User]) -> None:
        """Write them back. One round trip."""


class Feast:
    """How Feast's hash of a user is named and read, by hand: no SDK, which would be slower by far."""

    def __init__(self, task: dict[str, Any]) -> None:
        self._prefix, self._project = (bytes.fromhex(task["feast"][name]) for name in ("prefix", "project"))
        self.fields = [bytes.fromhex(task["feast"][name]) for name in ("channel", "cohort")]

    def key(self, user: str) -> bytes:
        """The name of the hash."""
        text = user.encode()
        return self._prefix + struct.pack("<II", 2, len(text)) + text + self._project

    def users(self, client: Any) -> Iterator[tuple[str, bytes]]:
        """Every user that has a hash, and its name."""
        for key in client.scan_iter(count=_CHUNK):
            if key.startswith(self._prefix):
                yield key[len(self._prefix) + 8 : len(key) - len(self._project)].decode(), key


def text(value: bytes | None) -> str | None:
    """The text of a protobuf Value.string_val of less than 128 bytes: a tag, a length, the text."""
    return value[2:].decode() if value else None


class Fields:
    """The state as fields of the very hash in which Feast keeps the profile: one command reads both, and one writes."""

    def __init__(self, task: dict[str, Any], work: Work) -> None:
        self._redis: Any = connect(task)
        self._work, self._feast = work, Feast(task)
        self._fields = [*self._feast.fields, *FIELDS]

    def read(self, users: Iterable[str]) -> dict[str, User]:
        names, key = list(users), self._feast.key
        rows = pipelined(self._redis, [(b"HMGET", key(name), *self._fields) for name in names])
        return {name: self._user(row) for name, row in zip(names, rows, strict=True)}

    def write(self, users: dict[str, User]) -> None:
        key = self._feast.key
        pipelined(self._redis, [(b"HSET", key(name), *chain.from_iterable(user.fields().items())) for name, user in users.items()])

    def read_one(self, name: str) -> User:
        """The same for one user, without the pipeline's cost."""
        return self._user(self._redis.hmget(self._feast.key(name), self._fields))

    def write_one(self, name: str, user: User) -> None:
        """Likewise."""
        self._redis.hset(self._feast.key(name), mapping=user.fields())

    def _user(self, row: list[bytes | None]) -> User:
        blank = self._work.user(text(row[0]), text(row[1]))
        return User.of_fields(row[2:], blank.channel, blank.cohort)


class Blobs:
    """One value for each user, state and profile together: two commands for a batch, however many users it has.

    `preload` packs the profiles of all users that are there now; those that come later are not seen.
    """

    def __init__(self, task: dict[str, Any], work: Work) -> None:
        self._redis: Any = connect(task)
        self._work, self._feast = work, Feast(task)

    def preload(self) -> None:
        """Make the values of all users that have a profile and no value yet."""
        users = self._feast.users(self._redis)
        while some := list(islice(users, _CHUNK)):
            pipe = self._redis.pipeline(transaction=False)
            for _, key in some:
                pipe.hmget(key, self._feast.fields)
            rows = pipe.execute()
            for (name, _), row in zip(some, rows, strict=True):
                pipe.setnx(_BLOB + name, self._work.user(*map(text, row)).packed())
            pipe.execute()

    def read(self, users: Iterable[str]) -> dict[str, User]:
        names = list(users)
        values, unpacked = self._redis.mget([_BLOB + name for name in names]), User.unpacked
        return {name: unpacked(value) if value else self._work.user(None, None) for name, value in zip(names, values, strict=True)}

    def write(self, users: dict[str, User]) -> None:
        self._redis.mset({_BLOB + name: user.packed() for name, user in users.items()})

    def read_one(self, name: str) -> User:
        """The same for one user."""
        value = self._redis.get(_BLOB + name)
        return User.unpacked(value) if value else self._work.user(None, None)

    def write_one(self, name: str, user: User) -> None:
        """Likewise."""
        self._redis.set(_BLOB + name, user.packed())


def connect(task: dict[str, Any]) -> Any:
    """A client that answers with bytes; hiredis parses where it is installed, as it is here."""
    return redis.Redis(host=task["redis_host"], port=task["redis_port"], socket_timeout=10)


def pipelined(client: Any, commands: list[tuple[Any, ...]]) -> list[Any]:
    """The answers to all commands, sent at once: what redis-py's pipeline does, without the objects that it makes for each command, which
    cost an action 4 of 16 us.
    """
    connection = client.connection_pool.get_connection("_")
    try:
        connection.send_packed_command(connection.pack_commands(commands))
        return [connection.read_response() for _ in commands]
    except BaseException:
        connection.disconnect()
        raise
    finally:
        client.connection_pool.release(connection)
