"""The rivals' own features and scores are the project's, on the shop's real actions and over weeks that are full of them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from features.activity import KIND_OF_ACTION
from features.enrich import Enricher
from features.memory_store import MemoryStore
from features.online import Profiles
from infra.config import ROOT, load_settings
from infra.contracts.codec import rfc3339
from infra.contracts.partitioner import partition_of
from jobs.clickstream import open_clickstream
from jobs.records import Records
from jobs.scoring_parts import model, rules
from jobs.scoring_path import accept, look_up, score
from tests.benchmarks.actions import Section, section_profiles, section_rows
from tests.benchmarks.rivals.brief import brief
from tests.benchmarks.rivals.work import User, Work, decode

SETTINGS = load_settings({})
RULES, MODEL = rules(), model(SETTINGS)
TASK = orjson.loads(orjson.dumps(brief(SETTINGS, "rival", 1)))
SHOP = open_clickstream(ROOT / "data" / "shop_clickstream.csv.gz")
Known = dict[str, tuple[str | None, str | None]]
FORMS: dict[str, Callable[[User], User]] = {
    "as it is": lambda user: user,
    "packed": lambda user: User.unpacked(user.packed()),
    "fields": lambda user: User.of_fields([_as_redis_gives(v) for v in user.fields().values()], user.channel, user.cohort),
}


class _WithProfiles(MemoryStore):
    def __init__(self, known: Known) -> None:
        super().__init__()
        self._known = known

    def read(self, users: Any, partitions: Any) -> Any:
        histories, _ = super().read(users, partitions)
        channel, cohort = zip(*(self._known[user] for user in users), strict=True)
        return histories, Profiles(np.full(len(users), 1_704_067_200_000), {"channel": list(channel), "cohort": list(cohort)})


def _as_redis_gives(value: bytes | int | str) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _ours(values: list[bytes], users: list[str], known: Known, batch: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The project's inputs of the model and its scores, in one partition for each user, in the order of the values."""
    enrich = Enricher(_WithProfiles(known), lambda *_: iter(()), lambda _: 0, lambda _: None, 1.0)
    x, scores = [], []
    partitions, next_offset = [partition_of(user, RULES.partitions) for user in users], [0] * RULES.partitions
    offsets = []
    for partition in partitions:
        offsets.append(next_offset[partition])
        next_offset[partition] += 1
    for begin in range(0, len(values), batch):
        part = slice(begin, begin + batch)
        at = np.array(partitions[part]), np.array(offsets[part])
        kafka_ms = np.full(len(values[part]), 1_800_000_000_000)
        records = Records([None] * len(values[part]), list(values[part]), *at, kafka_ms)
        accepted, refused = accept(records, RULES)
        assert not refused
        first = {p: int(at[1][at[0] == p].min()) for p in set(partitions[part])}
        last = {p: int(at[1][at[0] == p].max()) for p in set(partitions[part])}
        given = look_up(accepted, enrich(accepted.batch, first, last), MODEL)
        x.append(given.x)
        scores.append(score(given.x, MODEL)[0])
    return np.concatenate(x), np.concatenate(scores)


def _theirs(values: list[bytes], known: Known, batch: int, form: Callable[[User], User]) -> tuple[NDArray[np.float32], list[float]]:
    work, kept = Work(TASK), dict[str, User]()
    again, scores, x = Work(TASK), [], []
    kept_again = dict[str, User]()
    for begin in range(0, len(values), batch):
        events = [decode(value) for value in values[begin : begin + batch]]
        for users in (kept, kept_again):
            for user in {event.data.user_id for event in events}:
                users[user] = form(users[user]) if user in users else work.user(*known[user])
        x.append(work.features(events, kept))
        answers = again.answer(events, [(0, i) for i in range(len(events))], kept_again)
        scores += [orjson.loads(answer)["data"]["score"] for answer in answers]
    return np.concatenate(x), scores


@pytest.mark.parametrize("form", FORMS)
def test_on_the_shops_actions(form: str) -> None:
    section = Section("a", 8000)
    rows = list(itertools.islice(section_rows(SHOP, section), 4000))
    table = section_profiles(SHOP, [section])
    columns = (table[name].to_pylist() for name in ("user_id", "channel", "cohort"))
    known: Known = {user: (channel, cohort) for user, channel, cohort in zip(*columns, strict=True)}
    values, users = [row.value for row in rows], [row.user_id for row in rows]
    (x, scores), (their_x, their_scores) = _ours(values, users, known, 500), _theirs(values, known, 512, FORMS[form])
    np.testing.assert_array_equal(their_x, x)
    np.testing.assert_allclose(their_scores, scores, rtol=0, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_on_busy_users_over_two_weeks(seed: int) -> None:
    rng = random.Random(seed)
    known: Known = {"u0": ("email", "2024-02"), "u1": (None, "another"), "u2": (None, None)}
    names, values, users = [*KIND_OF_ACTION, "home", "never_heard_of"], [], []
    event, time = orjson.loads(next(section_rows(SHOP, Section("a", 1))).value), 1_714_000_000_000
    for _ in range(2500):
        time += rng.choice([0, 1, 999, rng.randint(0, 60_000), rng.randint(0, 600_000), rng.randint(0, 3_600_000)])
        time += 40 * 3_600_000 * (rng.random() < 0.005) + 8 * 86_400_000 * (rng.random() < 0.001)
        data = {"userId": rng.choice(list(known)), "sessionId": rng.choice("ab"), "action": rng.choice(names)}
        data |= {"platform": rng.choice(["mobile", "fridge"])} if rng.random() < 0.9 else {}
        values.append(orjson.dumps(event | {"timestamp": rfc3339(time), "data": data}))
        users.append(data["userId"])
    (x, scores), (their_x, their_scores) = _ours(values, users, known, 300), _theirs(values, known, 97, FORMS["packed"])
    np.testing.assert_array_equal(their_x, x)
    np.testing.assert_allclose(their_scores, scores, rtol=0, atol=1e-6)


def test_a_state_stays_small() -> None:
    work, minute = Work(TASK), 60_000
    user = work.user("email", "2024-02")
    for i in range(0, 20 * 24 * 60, 2):
        user.to(i * minute)
        user.add(i * minute, 1)
    assert len(user.minutes) <= 60
    assert len(user.hours) <= 7 * 24
    assert user.sums.to_bytes(96, "little")[:4] == (5).to_bytes(4, "little")
