"""Profiles are said to be there only where all of them are, whatever becomes of the store while Feast writes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import redis

from features import materialize
from features.foreign_rows import clear_foreign
from features.online_keys import LIFE, MATERIALIZED, mark_key, row_key
from infra.config import Settings, load_settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Feast:
    """Writes two profiles; in between something happens, once."""

    def __init__(self, client: Any, happens: Callable[[], object] = lambda: None) -> None:
        self.client, self.happens, self.runs = client, happens, 0

    def materialize(self, *_: object, **__: object) -> None:
        self.runs += 1
        self.client.hset(row_key("first"), "profile", "there")
        if self.runs == 1:
            self.happens()
        self.client.hset(row_key("second"), "profile", "there")


def at(port: int) -> Settings:
    settings = load_settings()
    return replace(settings, redis=replace(settings.redis, host="127.0.0.1", port=port))


@pytest.mark.parametrize("lost", ["nothing", "everything", "by another that clears"])
def test_what_is_lost_while_profiles_are_brought_is_brought_again(empty_redis: int, monkeypatch: pytest.MonkeyPatch, lost: str) -> None:
    client: Any = redis.Redis(port=empty_redis)

    def happens() -> None:
        if lost == "everything":
            client.flushall()
        if lost == "by another that clears":
            client.delete(row_key("first"))
            client.set(row_key("first"), "not a row")
            clear_foreign(client)

    feast = Feast(client, happens)
    monkeypatch.setattr(materialize, "feature_store", lambda _: feast)
    materialize.materialize_profiles(at(empty_redis), NOW)
    assert client.get(MATERIALIZED).decode() == NOW.isoformat()
    assert client.exists(row_key("first"), row_key("second")) == 2
    assert feast.runs == (1 if lost == "nothing" else 2)
    client.close()


def test_a_store_that_loses_them_each_time_is_named(empty_redis: int, monkeypatch: pytest.MonkeyPatch) -> None:
    client: Any = redis.Redis(port=empty_redis)
    feast = Feast(client)
    feast.materialize = lambda *_, **__: client.flushall()  # type: ignore[method-assign]
    monkeypatch.setattr(materialize, "feature_store", lambda _: feast)
    with pytest.raises(materialize.ProfilesMissingError, match="lost data 3 times while profiles were brought"):
        materialize.materialize_profiles(at(empty_redis), NOW)
    assert not client.exists(MATERIALIZED)
    client.close()


def test_a_redis_that_was_started_again_is_another_one(empty_redis: int) -> None:
    client: Any = redis.Redis(port=empty_redis)
    life = client.eval(materialize._LIFE, 1, LIFE)
    began, run_id = life.decode().split(" ")
    assert (client.get(LIFE).decode(), client.info("server")["run_id"]) == (began, run_id)
    assert client.eval(materialize._LIFE, 1, LIFE) == life
    assert client.eval(materialize._DONE, 2, LIFE, MATERIALIZED, f"{began} {'0' * 40}", "then") == 0
    assert client.eval(materialize._DONE, 2, LIFE, MATERIALIZED, life, "then") == 1
    client.close()


def test_what_feast_would_stumble_over_is_cleared_before(empty_redis: int, monkeypatch: pytest.MonkeyPatch) -> None:
    client: Any = redis.Redis(port=empty_redis)
    client.set(row_key("first"), "not a row")
    client.hset(mark_key(0), "lease", 1)
    monkeypatch.setattr(materialize, "feature_store", lambda _: Feast(client))
    materialize.materialize_profiles(at(empty_redis), NOW)
    assert client.type(row_key("first")) == b"hash"
    assert not client.exists(mark_key(0))  # whose that row was, is folded again
    client.close()
