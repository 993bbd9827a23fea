"""What the traffic is made of: actions of many users and every kind of bad input, the same for the same seed. Pure."""

from __future__ import annotations

import contextlib
import random
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from infra.contracts.codec import rfc3339
from infra.contracts.contract import Topic
from infra.contracts.partitioner import partition_of

START_MS = 1_719_792_000_000  # 2024-07-01, from which event time goes on by a second with each action
USERS = 400
_SECOND, _DAY = 1000, 86_400_000
_WORDS = ("home", "product_view", "product_view", "product_view", "add_to_cart", "error_page", "purchase", "search")
_REMEMBERED = 500  # actions that may be sent again
_MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Made:
    """One record to send. `reason`: of the dead letter that must answer it; None: a prediction must."""

    kind: str
    key: bytes | None
    value: bytes | None
    partition: int
    reason: str | None


class Maker:
    """Records of USERS users. `secret` stands in each event as its session and in each text that is refused."""

    def __init__(self, topic: Topic, seed: int, secret: str) -> None:
        self._topic, self._secret = topic, secret
        self._rng, self._namespace = random.Random(seed), uuid.uuid5(uuid.NAMESPACE_OID, f"chaos/{seed}")
        self._users = [user_name(number) for number in range(USERS)]
        self._number = 0
        self._past: deque[Made] = deque(maxlen=_REMEMBERED)
        # those whose refusal hangs on Kafka's own time have a kind of their own here
        self._examples = [example for example in topic.invalid if example.kafka_time_ms is None]

    def next(self, good_kinds: float = 0.1, poison: float = 0.02) -> Made:
        """A plain action; of any other good kind with the probability `good_kinds`, refused with `poison`."""
        drawn = self._rng.random()
        if drawn < poison:
            return self.make(self._rng.choice(POISON))
        return self.make(self._rng.choice(GOOD) if drawn < poison + good_kinds else "plain")

    def make(self, kind: str) -> Made:
        """The next record of a kind: "plain", or one of GOOD, POISON or HUGE."""
        self._number += 1
        made = _KINDS[kind](self, kind)
        if made.reason is None:
            self._past.append(made)
        return made

    def event(self, user: str, late_ms: int = 0, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """An event of a user as of now; `data` changes fields inside, None removes one."""
        data = {
            "userId": user,
            "sessionId": f"{self._secret}-{self._number // 7}",
            "action": self._rng.choice(_WORDS),
            "platform": self._rng.choice(("web", "ios", "android", None)),
            "lifecycle": self._rng.choice(("new", "active", None)),
        } | changes.pop("data", {})
        event = {
            "eventType": "UserAction",
            "eventId": str(uuid.uuid5(self._namespace, str(self._number))),
            "timestamp": rfc3339(START_MS + self._number * _SECOND - late_ms),
            "version": 1,
            "source": "streamhouse/chaos",
            "correlationId": f"{self._secret}-{self._number}",
            "data": data,
        } | changes
        return event

    def _record(self, kind: str, user: str, value: bytes | None, reason: str | None, key: bytes | None = b"") -> Made:
        return Made(kind, user.encode() if key == b"" else key, value, partition_of(user, self._topic.partitions), reason)

    def _good(self, kind: str) -> Made:
        user, rng = self._rng.choice(self._users), self._rng
        changes: dict[str, Any] = {}
        late = 0
        if kind == "late":
            late = rng.randrange(_SECOND, 2 * _DAY)
        elif kind == "out_of_order":
            late = rng.randrange(-5 * _SECOND, 5 * _SECOND)
        elif kind == "new_field":
            changes = {"data": {"referrer": "mail"}, "traceId": "t-1"}
        elif kind == "new_word":
            changes = {"data": {"action": "wishlist_add"}}
        event = self.event(user, late, **changes)
        if kind == "without_optional":
            del event["data"]["platform"], event["data"]["lifecycle"]
        return self._record(kind, user, orjson.dumps(event), None, None if kind == "without_key" else b"")

    def _again(self, kind: str) -> Made:
        if not self._past:
            return self._good("plain")
        made = self._rng.choice(self._past)
        return Made(kind, made.key, made.value, made.partition, None)

    def _example(self, kind: str) -> Made:
        example = self._rng.choice(self._examples)
        partition = self._rng.randrange(self._topic.partitions) if example.partition is None else example.partition
        if example.partition is None and example.value:
            # where there is none, it is refused wherever it lies
            with contextlib.suppress(orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
                partition = partition_of(orjson.loads(example.value)["data"]["userId"], self._topic.partitions)
        return Made(f"{kind}/{example.name}", b"poison", example.value, partition, example.reason)

    def _drifted(self, kind: str) -> Made:
        user = self._rng.choice(self._users)
        event, reason = self.event(user), "wrong_type"
        if kind == "number_for_a_text":
            event["data"]["action"] = 7
        elif kind == "text_for_a_number":
            event["version"] = self._secret
        elif kind == "renamed_field":
            event["data"]["user"] = event["data"].pop("userId")
            reason = "missing_field"
        elif kind == "version_2":
            event["version"], reason = 2, "unknown_version"
        elif kind == "ten_years_ahead":
            ahead = datetime.now(UTC).timestamp() * 1000 + 3650 * _DAY
            event["timestamp"], reason = rfc3339(int(ahead)), "timestamp_out_of_window"
        return self._record(kind, user, orjson.dumps(event), reason)

    def _broken(self, kind: str) -> Made:
        user = self._rng.choice(self._users)
        good = orjson.dumps(self.event(user))
        value, reason = {
            "nan": (good.replace(b'"version":1', b'"version":NaN'), "invalid_json"),
            "infinity": (good.replace(b'"version":1', b'"version":-Infinity'), "invalid_json"),
            "past_any_number": (good.replace(b'"version":1', b'"version":1e400'), "wrong_type"),
            "past_64_bits": (good.replace(b'"version":1', b'"version":' + b"9" * 30), "wrong_type"),
            "lone_surrogate": (good.replace(b'"streamhouse/chaos"', b'"\\ud800"'), "invalid_json"),
            "not_utf8": (good.replace(b'"streamhouse/chaos"', b'"\xff"'), "not_utf8"),
            "cut_off": (good[: len(good) // 2], "invalid_json"),
            "deep": (good[:-1] + b',"x":' + b"[" * 20_000 + b"]" * 20_000 + b"}", "too_deep"),
            "tombstone": (None, "tombstone"),
        }[kind]
        return self._record(kind, user, value, reason)

    def _huge(self, kind: str) -> Made:
        user = self._rng.choice(self._users)
        if kind == "garbage_megabyte":
            return self._record(kind, user, b"\xff" + self._rng.randbytes(_MEGABYTE - 1), "not_utf8")
        if kind == "json_megabyte":
            return self._record(kind, user, orjson.dumps(self.event(user, eventType="x" * _MEGABYTE)), "unknown_event_type")
        # compressed on its way, more than the topic takes once it is opened
        bomb = orjson.dumps(self.event(user, data={"userId": user, "sessionId": "s" * 20 * _MEGABYTE}))
        return self._record(kind, user, bomb, "invalid_value")


GOOD = ("late", "out_of_order", "new_field", "new_word", "without_optional", "without_key", "again")
DRIFTED = ("number_for_a_text", "text_for_a_number", "renamed_field", "version_2", "ten_years_ahead")
BROKEN = ("nan", "infinity", "past_any_number", "past_64_bits", "lone_surrogate", "not_utf8", "cut_off", "deep", "tombstone")
POISON = ("example", *DRIFTED, *BROKEN)
HUGE = ("garbage_megabyte", "json_megabyte", "bomb")

_KINDS: dict[str, Callable[[Maker, str], Made]] = {
    **dict.fromkeys(("plain", *GOOD), Maker._good),
    "again": Maker._again,
    "example": Maker._example,
    **dict.fromkeys(DRIFTED, Maker._drifted),
    **dict.fromkeys(BROKEN, Maker._broken),
    **dict.fromkeys(HUGE, Maker._huge),
}


def user_name(number: int) -> str:
    """The users of the traffic."""
    return f"chaos-{number:05}"
