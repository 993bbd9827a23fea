"""Redis paused, killed and emptied under the running job: nothing is scored meanwhile, and then each action as if nothing had been."""

from __future__ import annotations

import os
import signal
import time
import uuid
from typing import Any

import orjson
import pytest
import redis
from confluent_kafka import Producer

from features.activity import FEATURES
from infra.config import Settings
from infra.contracts.codec import rfc3339
from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from models.manifest import load_manifest
from tests.end_to_end.actions import an_action
from tests.end_to_end.facts import pid_of, records, value_of, wait_for
from tests.unit.features.by_definition import MINUTE, Action, features_at

PARTITIONS = load_contracts().topics["user-actions"].partitions
START = 1_719_800_000_000
WORDS = {"home": 0, "product_view": 1, "add_to_cart": 2, "error_page": 3, "purchase": 4}
PAUSE = 4.0  # seconds, four times the checkpoint interval: an answer that was given would be committed


class Visitors:
    """A few users of this test alone, who act one after another; and what each action's features are by definition."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.users = [f"visitor-{uuid.uuid4()}" for _ in range(5)]
        self.past: dict[str, list[Action]] = {user: [] for user in self.users}
        self.expected: dict[str, dict[str, float | None]] = {}
        self._producer = Producer(settings.kafka.client())

    def act(self, count: int) -> None:
        """So many actions, sent and taken by the broker."""
        for _ in range(count):
            number = sum(map(len, self.past.values()))
            user, word = self.users[number % 5], list(WORDS)[number % 7 % 5]
            past = self.past[user]
            time_ms = START + number * 7 * MINUTE
            event_id = str(uuid.uuid4())
            self.expected[event_id] = features_at(past, time_ms)
            past.append(Action(0, len(past), time_ms, WORDS[word], number // 11))
            data = {"userId": user, "sessionId": str(number // 11), "action": word}
            event = an_action(eventId=event_id, timestamp=rfc3339(time_ms), data=data)
            self._producer.produce("user-actions", orjson.dumps(event), key=user.encode(), partition=partition_of(user, PARTITIONS))
        assert self._producer.flush(60) == 0

    def answers(self) -> dict[str, dict[str, float | None]]:
        """The features with which each of the actions was scored so far, by the id of the action."""
        names = {wanted.name: j for j, wanted in enumerate(load_manifest(self.settings.root / "models/published/purchase_30m/1").inputs)}
        found: dict[str, dict[str, float | None]] = {}
        for message in records(self.settings, "predictions"):
            data = value_of(message)["data"]
            if data["actionId"] in self.expected:
                assert data["actionId"] not in found
                found[data["actionId"]] = {name: data["features"][names[name]] for name in FEATURES}
        return found

    def check(self) -> None:
        """Everything is answered with the features that the definition gives."""
        wait_for(lambda: len(self.answers()) == len(self.expected))
        assert self.answers() == {
            event: {name: -1.0 if value is None else value for name, value in values.items()} for event, values in self.expected.items()
        }


@pytest.fixture
def visitors(played: Settings) -> Visitors:
    """Users with a past that is scored already."""
    some = Visitors(played)
    some.act(40)
    some.check()
    return some


def test_while_redis_is_away_nothing_is_scored_and_then_everything(visitors: Visitors) -> None:
    pid = pid_of(visitors.settings, "redis")
    os.kill(pid, signal.SIGSTOP)
    try:
        before = len(visitors.answers())
        visitors.act(40)
        time.sleep(PAUSE)
        assert len(visitors.answers()) == before
    finally:
        os.kill(pid, signal.SIGCONT)
    visitors.check()


def test_a_killed_redis_comes_back_and_loses_no_feature(visitors: Visitors) -> None:
    pid = pid_of(visitors.settings, "redis")
    visitors.act(20)
    os.kill(pid, signal.SIGKILL)
    visitors.act(20)
    visitors.check()


def test_an_emptied_redis_is_filled_again_before_anything_is_scored(visitors: Visitors) -> None:
    client: Any = redis.Redis(port=visitors.settings.redis.port)
    client.flushall()
    visitors.act(40)
    visitors.check()
    assert client.exists("streamhouse:user_profile:materialized")
    client.close()


def test_profiles_come_back_with_the_features(played: Settings) -> None:
    before = stands(played)
    assert before["channel"][0]
    client: Any = redis.Redis(port=played.redis.port)
    client.flushall()
    client.close()
    again = Visitors(played)
    again.act(1)
    again.check()
    assert stands(played) == before


def stands(settings: Settings) -> dict[str, Any]:
    """What plain Feast reads of users of the clickstream, one at least in each partition."""
    from features.apply import feature_store

    names = ["user_profile:channel", "user_activity:actions_7d", "user_activity:seconds_since_action"]
    users = [{"user_id": f"user_{number:04}"} for number in range(20)]
    answer: dict[str, Any] = feature_store(settings).get_online_features(features=names, entity_rows=users).to_dict()
    return answer
