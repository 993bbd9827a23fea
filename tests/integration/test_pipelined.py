"""Commands in one go: whatever becomes of the connection, there are replies or one of redis-py's exceptions."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import hiredis
import pytest
import redis

from features.pipelined import Pipelined


def gets(*keys: str) -> Callable[[], Iterator[bytes]]:
    commands: list[Any] = [("GET", key) for key in keys]  # hiredis' types know tuples of one
    return lambda: map(hiredis.pack_command, commands)


def test_replies_come_in_the_order_of_their_commands_however_many(empty_redis: int) -> None:
    plain, store = redis.Redis(port=empty_redis), Pipelined("127.0.0.1", empty_redis, 5.0)
    values = {f"key{i}": b"x" * (i % 700) for i in range(5000)}
    plain.mset(values)
    assert store.ask(gets(*values, "none"), len(values) + 1) == [*values.values(), None]
    store.close()


def test_a_connection_that_was_closed_meanwhile_is_opened_again(empty_redis: int) -> None:
    plain, store = redis.Redis(port=empty_redis), Pipelined("127.0.0.1", empty_redis, 5.0)
    plain.set("key", b"value")
    assert store.ask(gets("key"), 1) == [b"value"]
    plain.client_kill_filter(_type="normal", skipme=True)
    assert store.ask(gets("key"), 1) == [b"value"]
    store.close()


def test_an_error_among_the_replies_is_raised_and_the_next_question_has_its_own_answer(empty_redis: int) -> None:
    plain, store = redis.Redis(port=empty_redis), Pipelined("127.0.0.1", empty_redis, 5.0)
    plain.set("key", b"value")
    plain.hset("hash", "field", "value")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        store.ask(gets("key", "hash", "key"), 3)
    assert store.ask(gets("key"), 1) == [b"value"]
    store.close()


def test_nobody_there_and_nobody_who_answers() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        with pytest.raises(redis.ConnectionError, match="is away"):
            Pipelined("127.0.0.1", port, 5.0).ask(gets("key"), 1)
        silent.listen()
        store = Pipelined("127.0.0.1", port, 0.2)
        with pytest.raises(redis.TimeoutError, match=r"within 0\.2 s"):
            store.ask(gets("key"), 1)
