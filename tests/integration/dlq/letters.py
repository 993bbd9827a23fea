"""What tests of dead letters share: records of every kind, what lies in the topics, and every promise about chains."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import Message, Producer

from infra.config import Settings
from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from infra.contracts.replays import HEADER
from jobs.committed_records import read_all
from tests.integration.dlq.replaying import dlq

ACTIONS, LETTERS, NOTES, PREDICTIONS = "user-actions", "user-actions-dlq", "user-actions-replays", "predictions"
CONTRACTS = load_contracts().topics
PARTITIONS = CONTRACTS[ACTIONS].partitions
Place = tuple[int, int]


def an_event(user: str | None, name: str, **changes: Any) -> dict[str, Any]:
    data = {"sessionId": "s", "action": "product_view"} | ({} if user is None else {"userId": user})
    event = {"eventType": "UserAction", "eventId": f"00000000-0000-4000-8000-{int(name):012d}", "timestamp": "2024-03-13T10:22:12Z"}
    return event | {"version": 1, "source": "test", "correlationId": f"user-{int(name) % 5}", "data": data} | changes


KINDS = ("good", "version", "user", "json", "stray", "hopeless")


def a_record(kind: str, number: int) -> tuple[bytes, bytes, int]:
    """Key, value, partition. All kinds but the last become good by a repair, `stray` by being sent at all."""
    user = f"user-{number % 5}"
    home = partition_of(user, PARTITIONS)
    value = {
        "version": orjson.dumps(an_event(user, str(number), version=2)),
        "user": orjson.dumps(an_event(None, str(number))),
        "json": orjson.dumps(an_event(user, str(number)))[1:],
        "hopeless": b"\xff%d" % number,
    }.get(kind, orjson.dumps(an_event(user, str(number))))
    return user.encode(), value, (home + 1) % PARTITIONS if kind == "stray" else home


def send(
    settings: Settings, records: Sequence[tuple[bytes | None, bytes | None, int]], headers: list[tuple[str, bytes]] | None = None
) -> list[Place]:
    """Where they lie, in their order."""
    producer = Producer(
        {**settings.kafka.client(), "enable.idempotence": True, "compression.type": "zstd", "message.max.bytes": 50_000_000}
    )
    producer.list_topics(timeout=30)  # once it is connected, it is given its id without half a second's wait
    places: dict[int, Place] = {}

    def delivered(i: int) -> Any:
        def note(error: Any, message: Message) -> None:
            assert error is None, error
            places[i] = place_of(message)

        return note

    for i, (key, value, partition) in enumerate(records):
        producer.produce(ACTIONS, value, key, partition, on_delivery=delivered(i), headers=list(headers or []))
    assert producer.flush(30) == 0
    return [places[i] for i in range(len(records))]


def place_of(message: Message) -> Place:
    return message.partition() or 0, message.offset() or 0


def committed(settings: Settings, topic: str) -> list[Message]:
    return list(read_all(settings, topic, CONTRACTS[topic].partitions))


def values(settings: Settings, topic: str) -> list[dict[str, Any]]:
    return [json.loads(message.value() or b"")["data"] for message in committed(settings, topic)]


def sent_again(settings: Settings) -> dict[Place, tuple[Place, int]]:
    """Place of each replay -> the original's place and the number of the replay, by the records' headers."""
    found = {}
    for message in committed(settings, ACTIONS):
        if header := dict(message.headers() or []).get(HEADER):
            claim = json.loads(header)
            found[place_of(message)] = ((claim["partition"], claim["offset"]), claim["retryCount"])
    return found


def answers(settings: Settings) -> dict[Place, tuple[str, str]]:
    """For each original its one accepted successor's user and event id; sees that every promise about chains holds on the way."""
    replays = sent_again(settings)
    places = Counter(place_of(message) for message in committed(settings, ACTIONS))
    predictions, letters, notes = (values(settings, topic) for topic in (PREDICTIONS, LETTERS, NOTES))
    answered = Counter((data["actionPartition"], data["actionOffset"]) for data in predictions)
    answered += Counter((data["sourcePartition"], data["sourceOffset"]) for data in letters)
    assert answered == places

    # one note per replay and letter, and they say the same as the headers
    told = [note for note in notes if "replayOffset" in note]
    assert {(note["replayPartition"], note["replayOffset"]): original_of(note) for note in told} == replays
    for kind in (told, [note for note in notes if "replayOffset" not in note]):
        of_letters = [(note["letterPartition"], note["letterOffset"]) for note in kind]
        assert len(of_letters) == len(set(of_letters))
    chains = defaultdict(list)
    for original, retries in replays.values():
        chains[original].append(retries)
    assert all(sorted(chain) == list(range(1, len(chain) + 1)) for chain in chains.values())
    for letter in letters:
        place = (letter["sourcePartition"], letter["sourceOffset"])
        expected = replays.get(place, ((None, None), 0))
        assert ((letter.get("originalPartition"), letter.get("originalOffset")), letter["retryCount"]) == expected

    accepted: dict[Place, tuple[str, str]] = {}
    for data in predictions:
        place = (data["actionPartition"], data["actionOffset"])
        original = replays.get(place, (place, 0))[0]
        assert original not in accepted
        accepted[original] = data["userId"], data["actionId"]
    return accepted


def original_of(note: dict[str, Any]) -> tuple[Place, int]:
    return (note["originalPartition"], note["originalOffset"]), note["retryCount"]


def listing(settings: Settings, out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(dlq(settings, out, "list", "--json"))
    return found
