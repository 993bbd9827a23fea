"""The meter's core: whatever comes first, it measures what the comparison of the whole archive measures; what waits is bounded."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.memory_store import MemoryStore
from features.online_keys import PROFILE_FEATURES
from features.profile_history import ProfileHistory, profile_history
from infra.config import load_settings
from infra.contracts.in_effect import BEGINNING, InEffect, Revision, described
from infra.contracts.partitioner import partition_of
from infra.stack.measured import Measured
from jobs.folded_archive import Folded, offline_enricher
from jobs.meter import measure
from jobs.meter.measure import Meter, is_sampled
from jobs.published_models import PublishedModels
from jobs.records import Records, offset_ranges
from jobs.replay.refolded import Refolded, Said, compare_vectors
from jobs.scoring_parts import models_folder, rules
from jobs.scoring_path import accept
from tests.audited import PARTITIONS
from tests.evolved import own, with_version
from tests.histories import Kept, Profile, _records, answered, log_of
from tests.integration.meter.conftest import USERS, actions

SETTINGS = load_settings({})
MODELS = PublishedModels(models_folder(SETTINGS))
COUNT = 600
PROFILES: dict[str, Profile] = {  # of every other user; a third of them stale
    user: (1_622_000_000_000 if number % 3 == 0 else 1_672_531_200_000, ("web", "2024-01")) for number, user in enumerate(USERS[::2])
}
Event = dict[str, Any]


class _Row:
    def __init__(self, user_id: str, value: bytes, time: int) -> None:
        self.user_id, self.value, self.time = user_id, value, time


@cache
def log() -> tuple[dict[int, list[Kept]], list[bytes]]:
    """Records by partition, and their predictions."""
    sent = actions(COUNT, 7)
    users = [USERS[0] if one.value == b"no json" else orjson.loads(one.value or b"")["data"]["userId"] for one in sent]
    rows = [_Row(user, one.value or b"", 1_704_067_200_000) for user, one in zip(users, sent, strict=True)]
    records = log_of(rows, seed=3)  # type: ignore[arg-type]
    made = answered(SETTINGS, records, 2, PROFILES)
    return records, [kept.value() or b"" for kept in made.topics["predictions"]]


def profiles(users: Sequence[str]) -> ProfileHistory:
    known = np.array([PROFILES[user][0] for user in users], np.int64)
    columns = {name: [PROFILES[user][1][i] for user in users] for i, name in enumerate(PROFILE_FEATURES)}
    return profile_history(list(users), known, known, columns)


ALL_PROFILES = profiles(list(PROFILES))


def changed(values: Sequence[bytes], rng: random.Random, share: float) -> list[bytes]:
    """Some of the predictions spoilt in one of many ways."""

    def features(data: Event) -> None:
        data["features"][rng.randrange(6)] += 1

    def profile(data: Event) -> None:
        data["rows"]["user_profile"]["time"] = "2020-01-01T00:00:00.000Z"

    ways: list[Callable[[Event], None]] = [
        features,
        profile,
        lambda data: data.update(score=0.5),
        lambda data: data.update(flags=["late_action"]),
        lambda data: data["model"].update(version="99"),  # no such model
        lambda data: data.pop("features"),  # cannot be read
    ]
    made = []
    for value in values:
        event = orjson.loads(value)
        if rng.random() < share:
            rng.choice(ways)(event["data"])
        made.append(orjson.dumps(event))
    return made


def offline(values: Sequence[bytes], every: int) -> Refolded:
    """The whole log folded, and every prediction of sampled users compared."""
    outcome = Refolded()
    for partition, kept in log()[0].items():
        records = _records(kept)
        accepted, refused = accept(records, rules())
        enrich = offline_enricher(MemoryStore())
        enrich.start_over(partition)
        rows = enrich(accepted.batch, *offset_ranges(records)).rows
        part = Folded(records, accepted, refused, rows, accepted.batch.time)
        datas = [(orjson.loads(value)["data"], value) for value in values]
        mine = sorted((data["actionOffset"], value) for data, value in datas if data["actionPartition"] == partition)
        said = Said(np.array([offset for offset, _ in mine], np.int64), [value for _, value in mine])
        chosen = np.array([is_sampled(user, every) for user in accepted.batch.users], np.bool_)
        outcome.merge([compare_vectors(part, chosen, said, ALL_PROFILES, rules(), MODELS.find)])
    return outcome


def live(values: Sequence[bytes], every: int, rng: random.Random, **bounds: int) -> tuple[Measured, Meter]:
    """The same as it comes: pieces of the partitions' logs and of the predictions in any interleaving, profiles that come late."""
    meter, total = Meter(every, rules(), MODELS.find, **bounds), Measured()
    waiting = {partition: list(kept) for partition, kept in log()[0].items()}
    for partition in waiting:
        meter.begin(partition)
    heard, some_profiles = list(values), profiles(list(PROFILES)[:5])
    rng.shuffle(heard)
    while heard or any(waiting.values()):
        if (heard and rng.random() < 0.5) or not any(waiting.values()):
            count = rng.randint(1, 60)
            meter.hear(heard[:count])
            del heard[:count]
        else:
            records: list[Kept] = []
            for partition in rng.sample(sorted(waiting), len(waiting)):
                count = rng.randint(0, 40)
                records += waiting[partition][:count]
                del waiting[partition][:count]
            meter.fold(_records(records) if records else Records([], [], *(np.zeros(0, np.int64),) * 3))
        total.merge(meter.measure(some_profiles, newest=False))
        if rng.random() < 0.1:
            total.merge(meter.measure(ALL_PROFILES, newest=True))
    total.merge(meter.measure(ALL_PROFILES, newest=True))
    return total, meter


@given(st.integers(0, 2**32), st.sampled_from([1, 2, 5]), st.sampled_from([0.0, 0.1]))
def test_it_measures_what_the_whole_archive_tells_in_whatever_order_both_come(seed: int, every: int, share: float) -> None:
    rng = random.Random(seed)
    values = changed(log()[1], rng, share)
    whole = offline(values, every)
    total, meter = live(values, every, rng)
    assert (total.measured, total.equal) == (whole.vectors, whole.equal)
    assert total.counts == Counter({kind: count for (_, kind), count in whole.findings.counts.items()})
    named = {(one.kind, one.partition, one.offset) for one in whole.findings.kept}
    assert {(one.field, one.partition, one.offset) for one in total.first} <= named
    sampled = sum(is_sampled(orjson.loads(value)["data"]["userId"], every) for value in values)
    assert total.measured + total.not_measured == sampled
    assert meter.waiting == (0, 0)
    assert not meter.in_doubt
    if not share:
        assert total.equal == sampled > 0


@pytest.mark.parametrize("every", [1, 3])
def test_a_version_that_calls_the_user_otherwise_is_folded_too(every: int) -> None:
    evolved = with_version(own(), {"userId": "customerId"}, {}, {})
    contract = InEffect([Revision(BEGINNING, described(evolved))])
    meter, rng, newer = Meter(every, replace(rules(), contract=contract), MODELS.find), random.Random(7), 0
    for partition, kept in log()[0].items():
        records, values = _records(kept), list[bytes | None]()
        for value in records.values:
            if (is_newer := value is not None and b'"userId"' in value and rng.random() < 0.5) and value is not None:
                event = orjson.loads(value)
                event["version"], event["data"]["customerId"] = 2, event["data"].pop("userId")
                value = orjson.dumps(event)
            newer += is_newer
            values.append(value)
        meter.begin(partition)
        meter.fold(replace(records, values=values))
    assert newer > 100
    meter.hear(log()[1])
    found = meter.measure(ALL_PROFILES, newest=True)
    sampled = sum(is_sampled(orjson.loads(value)["data"]["userId"], every) for value in log()[1])
    assert (found.measured, found.equal, found.not_measured) == (sampled, sampled, 0)


def test_a_share_of_the_users_is_sampled_and_always_the_same() -> None:
    users = [f"user_{number:05d}" for number in range(20_000)]
    assert sum(is_sampled(user, 20) for user in users) == pytest.approx(1000, rel=0.1)
    assert [user for user in ("ada", "bob", "eve", "kim", "lea") if is_sampled(user, 3)] == ["ada", "eve", "kim"]
    assert is_sampled("\ud800", 1)


@pytest.mark.parametrize("first", ["actions", "predictions"])
def test_what_waits_is_bounded_and_what_was_let_go_is_not_measured_and_no_alarm(first: str) -> None:
    meter = Meter(1, rules(), MODELS.find, most=50)
    for partition in log()[0]:
        meter.begin(partition)

    def fold() -> None:
        for kept in log()[0].values():
            meter.fold(_records(kept))

    def hear() -> None:
        meter.hear(log()[1])

    for step in (fold, hear) if first == "actions" else (hear, fold):
        step()
        assert max(meter.waiting) <= 50
    found = meter.measure(ALL_PROFILES, newest=True)
    assert found.measured == found.equal == 50
    assert found.not_measured == len(log()[1]) - 50
    assert found.alarm is None


def test_the_bytes_of_what_waits_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "MOST_BYTES", 20_000)
    meter = Meter(1, rules(), MODELS.find)
    for partition in log()[0]:
        meter.begin(partition)
    meter.hear(log()[1])
    _, waiting = meter.waiting
    assert 10 < waiting < 40
    for kept in log()[0].values():
        meter.fold(_records(kept))
    found = meter.measure(ALL_PROFILES, newest=True)
    assert (found.measured, found.equal, found.not_measured) == (waiting, waiting, len(log()[1]) - waiting)
    meter.hear(log()[1][:5])  # of which nothing is left to wait for, and room again
    assert meter._early_bytes == 0


def test_predictions_in_doubt_are_bounded() -> None:
    meter = Meter(1, rules(), MODELS.find, most=2000)
    for partition, kept in log()[0].items():
        meter.begin(partition)
        meter.fold(_records(kept))
    meter._most = 10
    meter.hear(log()[1])
    found = meter.measure(profiles(list(PROFILES)[:1]), newest=False)
    doubted = len(log()[1]) - found.measured - found.not_measured
    assert doubted == 10
    assert found.not_measured > 0
    again = meter.measure(ALL_PROFILES, newest=True)
    assert (again.measured, again.equal, again.not_measured) == (10, 10, 0)


def test_what_answers_no_action_of_its_user_is_not_measured() -> None:
    """The audit and the replay as served name these; a meter that called them differences would name no feature."""
    partition, values = partition_of(USERS[0], PARTITIONS), log()[1]
    kept = log()[0][partition]
    meter = Meter(1, rules(), MODELS.find)
    meter.begin(partition)
    mine = [value for value in values if orjson.loads(value)["data"]["actionPartition"] == partition]
    refused = next(record.offset() for record in kept if record.value() == b"no json")

    def other(**changes: object) -> bytes:
        event = orjson.loads(mine[0])
        event["data"] |= changes
        return orjson.dumps(event)

    strangers = [other(actionOffset=refused), other(userId="somebody"), mine[1]]
    meter.hear([None, b"", b"no json", b"{}", b'{"data": 5}', b"[" * 5000, *mine[1:2], *strangers])
    meter.fold(_records(kept))
    meter.hear(mine[1:2])
    found = meter.measure(ALL_PROFILES, newest=True)
    assert (found.measured, found.equal, found.not_measured) == (1, 1, 4)


def test_users_that_are_not_sampled_take_no_memory() -> None:
    meter = Meter(5, rules(), MODELS.find)
    store = MemoryStore()
    meter._enrich = offline_enricher(store)
    for partition, kept in log()[0].items():
        meter.begin(partition)
        meter.fold(_records([replace(record, _key=None) for record in kept]))  # keys may lie, so they are not looked at
    assert set(store.histories) == {user for user in USERS if is_sampled(user, 5)}
    assert 0 < len(store.histories) < len(USERS) / 2
    assert meter.waiting[1] == 0
