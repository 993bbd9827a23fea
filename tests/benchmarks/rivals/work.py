"""The work itself, by hand: actions and their users' states -> the same features, the same ONNX file, small predictions.

No code of the project: a state of counters that move with the minute instead of a history that is counted again. That is cheaper, and
promises less. It assumes what holds for the benchmark's clickstream, and is spared what the project does beside:
- A user's actions come in time order, every action is valid, and nothing is ever read twice: an action that comes again after a crash is
  counted again, and its prediction differs from the first one.
- A profile is known before its user's first action and never grows old.
- Predictions do not carry the features that they were made from.

`task` is read from the file that `sides.brief` writes: model, inputs in the manifest's order, what counts as what, addresses.
"""

from __future__ import annotations

import marshal
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
import orjson
from numpy.typing import NDArray

Place = tuple[int, int]
"""Partition and offset of an action."""

NEVER = -1
# Six counters of 32 bits side by side in one int: adding or expiring a bucket is one operation for all of them
_THINGS = ("actions", "product_views", "cart_adds", "errors", "purchases", "visits")
_LANE = 32
_BUCKET = _LANE * len(_THINGS)
# and the sums of all four windows side by side in another one, which becomes bytes, and those floats, at once for a whole batch
_WINDOWS = ("10m", "1h", "24h", "7d")
_10M, _1H, _24H, _7D = (_BUCKET * i for i in range(len(_WINDOWS)))
_SUMS_BYTES = _BUCKET // 8 * len(_WINDOWS)
_IN_EACH_WINDOW = sum(1 << shift for shift in (_10M, _1H, _24H, _7D))
_COUNTS = tuple(f"user_activity:{thing}_{window}" for window in _WINDOWS for thing in _THINGS)
_OTHERS = (
    "user_activity:seconds_since_action",
    "user_activity:seconds_since_purchase",
    "action:action",
    "action:platform",
    "action:lifecycle",
    "user_profile:channel",
    "user_profile:cohort",
)


class ActionData(msgspec.Struct, rename="camel", gc=False):
    """What a user did."""

    user_id: str
    session_id: str
    action: str
    platform: str | None = None
    lifecycle: str | None = None


class Action(msgspec.Struct, rename="camel", gc=False):
    """The fields of an action that are needed; typed decoding takes half the time of orjson's dicts."""

    event_id: str
    timestamp: str
    data: ActionData


decode = msgspec.json.Decoder(Action).decode


class User:
    """One user's state. Times in ms, NEVER: none. The last hour by the minute, the last week by the hour; `sums`: of the four windows.

    `recent`: the first of `minutes` in the last 10 minutes; `day`: the first of `hours` in the last 24 hours; as of the last action.
    """

    __slots__ = (
        "bought",
        "channel",
        "cohort",
        "day",
        "hour_counts",
        "hours",
        "last",
        "minute_counts",
        "minutes",
        "recent",
        "session",
        "sums",
    )

    def __init__(self, channel: float, cohort: float) -> None:
        self.last, self.bought, self.session, self.channel, self.cohort = NEVER, NEVER, "", channel, cohort
        self.sums = self.recent = self.day = 0
        self.minutes: list[int] = []
        self.minute_counts: list[int] = []
        self.hours: list[int] = []
        self.hour_counts: list[int] = []

    def to(self, time: int) -> None:
        """Let go what is too old for a window at `time`. They are aligned to minutes, five minutes and hours, as the model knows them."""
        minute, sums = time // 60_000, self.sums
        minutes, counts, at, size = self.minutes, self.minute_counts, self.recent, len(self.minutes)
        while at < size and minutes[at] <= minute - 10:
            sums -= counts[at] << _10M
            at += 1
        if at and minutes[0] < (oldest := (minute // 5 - 11) * 5):
            gone = bisect_right(minutes, oldest - 1)
            sums -= sum(counts[:gone]) << _1H
            del minutes[:gone], counts[:gone]
            at -= gone
        self.recent = at
        hour, hours, counts, at, size = minute // 60, self.hours, self.hour_counts, self.day, len(self.hours)
        while at < size and hours[at] <= hour - 24:
            sums -= counts[at] << _24H
            at += 1
        if at and hours[0] <= hour - 168:
            gone = bisect_right(hours, hour - 168)
            sums -= sum(counts[:gone]) << _7D
            del hours[:gone], counts[:gone]
            at -= gone
        self.day, self.sums = at, sums

    def add(self, time: int, counts: int) -> None:
        """Count an action at `time`, which `to` was told before."""
        minute = time // 60_000
        hour = minute // 60
        if self.minutes and self.minutes[-1] == minute:
            self.minute_counts[-1] += counts
        else:
            self.minutes.append(minute)
            self.minute_counts.append(counts)
        if self.hours and self.hours[-1] == hour:
            self.hour_counts[-1] += counts
        else:
            self.hours.append(hour)
            self.hour_counts.append(counts)
        self.sums += counts * _IN_EACH_WINDOW
        self.last = time

    # Marshal is what packs ints of any size fastest here, twice as fast as pickle; its bytes are those of one version of Python
    def packed(self) -> bytes:
        """All of it in one value."""
        recent, past = (self.recent, self.minutes, self.minute_counts), (self.day, self.hours, self.hour_counts)
        return marshal.dumps((self.last, self.bought, self.session, self.channel, self.cohort, self.sums, *recent, *past))

    @classmethod
    def unpacked(cls, data: bytes) -> User:
        """A state as `packed` gave it."""
        last, bought, session, channel, cohort, sums, recent, minutes, minute_counts, day, hours, hour_counts = marshal.loads(data)
        user = cls.__new__(cls)
        user.last, user.bought, user.session, user.channel, user.cohort, user.sums = last, bought, session, channel, cohort, sums
        user.recent, user.minutes, user.minute_counts, user.day, user.hours, user.hour_counts = (
            recent,
            minutes,
            minute_counts,
            day,
            hours,
            hour_counts,
        )
        return user

    def fields(self) -> dict[bytes, bytes | int | str]:
        """The state without the profile, as fields of a hash."""
        return {
            b"last": self.last,
            b"bought": self.bought,
            b"session": self.session,
            b"sums": self.sums.to_bytes(_SUMS_BYTES, "little"),
            b"minutes": marshal.dumps([self.recent, self.minutes, self.minute_counts]),
            b"hours": marshal.dumps([self.day, self.hours, self.hour_counts]),
        }

    @classmethod
    def of_fields(cls, values: Sequence[bytes | None], channel: float, cohort: float) -> User:
        """A state from the values of FIELDS, None for all where there is none."""
        user = cls(channel, cohort)
        last, bought, session, sums, minutes, hours = values
        if (
            last is not None
            and bought is not None
            and session is not None
            and sums is not None
            and minutes is not None
            and hours is not None
        ):
            user.last, user.bought, user.session = int(last), int(bought), session.decode()
            user.sums = int.from_bytes(sums, "little")
            user.recent, user.minutes, user.minute_counts = marshal.loads(minutes)
            user.day, user.hours, user.hour_counts = marshal.loads(hours)
        return user


FIELDS = (b"last", b"bought", b"session", b"sums", b"minutes", b"hours")


class Work:
    """The model and what its inputs mean. One for each process."""

    def __init__(self, task: dict[str, Any]) -> None:
        inputs = task["inputs"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # more only fight for the cores at these sizes
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        self._session: Any = onnxruntime.InferenceSession(Path(task["model"]).read_bytes(), options, providers=["CPUExecutionProvider"])
        self._output, self._threshold, self._name = [task["output"]], task["threshold"], task["model_name"]
        columns = {source: i for i, source in enumerate((*_COUNTS, *_OTHERS))}
        self._order = np.array([columns[wanted["source"]] for wanted in inputs])
        by_source = {wanted["source"]: wanted for wanted in inputs}
        self._defaults = [by_source.get(source, {}).get("default", 0.0) for source in _OTHERS]
        codes = [{word: float(i) for i, word in enumerate(by_source.get(source, {}).get("vocabulary") or ())} for source in _OTHERS[2:]]
        self._action, self._platform, self._lifecycle, self.channel, self.cohort = codes
        # an action's place in the vocabulary and its counts, in one look
        self._counts = {name: 1 | 1 << _LANE * kind for name, kind in task["kinds"].items()}
        self._purchase = task["purchase"]

    def user(self, channel: str | None, cohort: str | None) -> User:
        """A user without a past, with this profile."""
        return User(self.channel.get(channel, self._defaults[5]), self.cohort.get(cohort, self._defaults[6]))

    def answer(self, events: Sequence[Action], places: Sequence[Place], users: dict[str, User]) -> list[bytes]:
        """A prediction for each decoded action, in the order of the log; `users` hold their states and are moved on."""
        x = self.features(events, users)
        scores = self._session.run(self._output, {"features": x})[0].reshape(-1)
        decisions, dumps, model = (scores >= self._threshold).tolist(), orjson.dumps, self._name
        found = []
        for event, place, score, decision in zip(events, places, scores.tolist(), decisions, strict=True):
            partition, offset = place
            found.append(
                dumps(
                    {
                        "eventId": f"prediction-{partition}-{offset}",
                        "timestamp": event.timestamp,
                        "data": {
                            "actionId": event.event_id,
                            "actionPartition": partition,
                            "actionOffset": offset,
                            "userId": event.data.user_id,
                            "score": score,
                            "decision": decision,
                            "model": model,
                        },
                    }
                )
            )
        return found

    def features(self, events: Sequence[Action], users: dict[str, User]) -> NDArray[np.float32]:
        """(n, inputs) float32 in the manifest's order: each action's features as of just before it. The users' states move on."""
        sums: list[bytes] = []
        others: list[float] = []
        never_acted, never_bought, no_action, no_platform, no_lifecycle = self._defaults[:5]
        action_code, platform_code, lifecycle_code, counts_of = self._action, self._platform, self._lifecycle, self._counts
        purchase = self._purchase
        # RFC 3339 in UTC; numpy wants it without the Z, and takes a third of the time of datetime's parser
        times = np.array([event.timestamp[:-1] for event in events], "datetime64[ms]").astype(np.int64).tolist()
        for event, time in zip(events, times, strict=True):
            data = event.data
            user, action = users[data.user_id], data.action
            last, bought = user.last, user.bought
            if time // 60_000 != last // 60_000:  # windows move by the minute at most
                user.to(time)
            sums.append(user.sums.to_bytes(_SUMS_BYTES, "little"))
            others += (
                never_acted if last == NEVER else (time - last) / 1000,
                never_bought if bought == NEVER else (time - bought) / 1000,
                action_code.get(action, no_action),
                platform_code.get(data.platform, no_platform),
                lifecycle_code.get(data.lifecycle, no_lifecycle),
                user.channel,
                user.cohort,
            )
            counts = counts_of.get(action, 1)
            if data.session_id != user.session or last == NEVER:
                counts |= 1 << _LANE * 5
                user.session = data.session_id
            user.add(time, counts)
            if action == purchase:
                user.bought = time
        columns = np.empty((len(events), len(_COUNTS) + len(_OTHERS)), np.float32)
        columns[:, : len(_COUNTS)] = np.frombuffer(b"".join(sums), "<u4").reshape(len(events), -1)
        columns[:, len(_COUNTS) :] = np.array(others, np.float32).reshape(len(events), -1)
        return columns[:, self._order]
