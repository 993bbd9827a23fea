"""A broker and a lake of a test's own, actions that the real scoring path answers, and a meter over every user."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from infra.config import Meter as MeterSettings
from infra.config import Settings
from infra.contracts.partitioner import partition_of
from infra.stack import measured
from infra.stack.measured import Measured
from jobs.committed_records import end_offsets
from jobs.meter.run import Following
from tests.audited import PARTITIONS, Archive, Scorer, Sent, Writer, audited_anew

Change = Callable[[dict[str, object]], None]
USERS = [f"user-{number}" for number in range(40)]


def actions(count: int, seed: int) -> list[Sent]:
    """Actions of all users over two days, a twentieth late, a fiftieth bad; the keys of a few lie."""
    rng, start = random.Random(seed), datetime(2024, 1, 1, tzinfo=UTC)
    made = []
    for number in range(count):
        user = rng.choice(USERS)
        seconds = number * 172_800 // count - (7_000 if rng.random() < 0.05 else 0)
        event = {
            "eventType": "UserAction",
            "eventId": f"00000000-0000-4000-8000-{seed:04d}{number:08d}",
            "timestamp": (start + timedelta(seconds=seconds)).isoformat(),
            "version": 1,
            "source": "shop",
            "correlationId": "c",
            "data": {
                "userId": user,
                "sessionId": f"s{number // 50}",
                "action": rng.choice(["product_view", "add_to_cart", "purchase", "error"]),
            },
        }
        value = b"no json" if rng.random() < 0.02 else orjson.dumps(event)
        key = b"another" if rng.random() < 0.02 else user.encode()
        made.append(Sent(key, value, partition=partition_of(user, PARTITIONS)))
    return made


@dataclass
class Place:
    """All of it."""

    settings: Settings
    writer: Writer
    scorer: Scorer
    archive: Archive

    def send(self, count: int, seed: int) -> None:
        """Actions, not answered yet."""
        self.writer.send([("user-actions", sent) for sent in actions(count, seed)])

    def cut(self, keep: int) -> None:
        """Let retention take all records of the topic but the last so many of each partition."""
        ends = end_offsets(self.settings, [("user-actions", partition) for partition in range(PARTITIONS)])
        places = [TopicPartition(topic, partition, end - keep) for (topic, partition), end in ends.items()]
        client = AdminClient(dict(self.settings.kafka.client()))
        for future in client.delete_records(places).values():
            future.result(20)

    def say(self, kept: Sequence[tuple[str, Sent]]) -> None:
        """Answers that were withheld."""
        self.writer.send(kept)

    def measured(self) -> Measured:
        """What the meter wrote."""
        kept = measured.known(self.settings)
        assert kept is not None
        return kept.measured


@pytest.fixture
def place(broker: Settings, tmp_path: Path) -> Place:
    """Topics and tables made anew."""
    settings = replace(audited_anew(broker, tmp_path / "state"), meter=MeterSettings(every=1))
    return Place(settings, Writer(settings, "meter-test"), Scorer(settings), Archive(settings))


@pytest.fixture
def following(place: Place) -> Iterator[Following]:
    """A meter that was not asked to look yet."""
    one = Following(place.settings, profiles_seconds=0)
    yield one
    one.close()
