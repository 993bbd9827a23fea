"""Dead letters against a real broker: killed, repeated, two at a time, each is sent at most once and answered as if nothing had failed."""

from __future__ import annotations

import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from confluent_kafka import Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource  # type: ignore[attr-defined]

from infra.config import Settings, load_settings
from infra.contracts import topics
from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from infra.contracts.replays import HEADER, Replay, encode_replay
from jobs.committed_records import read_all
from lakehouse import migrate
from tests.brokers import embedded_broker
from tests.integration.replaying import BATCH, dlq, replaying
from tests.integration.scoring import Scorer
from tests.lake import put_records
from tests.ports import free_ports

ACTIONS, LETTERS, NOTES, PREDICTIONS = "user-actions", "user-actions-dlq", "user-actions-replays", "predictions"
CONTRACTS = load_contracts().topics
PARTITIONS = CONTRACTS[ACTIONS].partitions
MEND = """
import json

def versions(event):
    if isinstance(event, dict) and event.get("version") == 2:
        event["version"] = 1
    return event

def all_but_hopeless(event):
    if isinstance(event, bytes):
        return b"{" + event if event.startswith(b'"') else None
    if isinstance(event, dict):
        event["data"].setdefault("userId", event["correlationId"])
        event["version"] = 1
    return event

def nothing(event):
    return None

def broken(event):
    return event["nowhere"]
"""
Place = tuple[int, int]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("broker")
    clients, controller = free_ports(2)
    ports = {"STREAMHOUSE_KAFKA_PORT": clients, "STREAMHOUSE_KAFKA_CONTROLLER_PORT": controller}
    embedded = load_settings({"STREAMHOUSE_STATE": str(folder), **ports})
    with embedded_broker(embedded):
        yield embedded.kafka.servers


@pytest.fixture
def settings(servers: str, tmp_path: Path) -> Settings:
    """The broker with empty topics."""
    own = load_settings({"STREAMHOUSE_STATE": str(tmp_path / "state"), "STREAMHOUSE_KAFKA_BOOTSTRAP_SERVERS": servers})
    empty(own)
    return own


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where a command's words go."""
    return tmp_path / "said"


@pytest.fixture
def mend(tmp_path: Path) -> Path:
    file = tmp_path / "mend.py"
    file.write_text(MEND, "utf-8")
    return file


def empty(settings: Settings) -> None:
    client = AdminClient(dict(settings.kafka.client()))
    if there := [name for name in CONTRACTS if name in client.list_topics(timeout=10).topics]:
        for future in client.delete_topics(there).values():
            future.result(20)
    deadline = time.monotonic() + 30
    while any(name in CONTRACTS for name in client.list_topics(timeout=10).topics):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    topics.apply(settings)


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


def a_log(settings: Settings, rng: random.Random, count: int) -> tuple[list[Place], set[Place]]:
    """Originals of every kind; answers all places and the hopeless ones."""
    kinds = [rng.choice(KINDS) for _ in range(count)]
    places = send(settings, [a_record(kind, number) for number, kind in enumerate(kinds)])
    return places, {place for place, kind in zip(places, kinds, strict=True) if kind == "hopeless"}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(2))
def test_failures_repairs_kills_and_replays_answer_what_the_run_without_failures_answers(
    settings: Settings, out: Path, mend: Path, seed: int, request: pytest.FixtureRequest
) -> None:
    rounds, count = (40, 300) if request.config.getoption("--full") else (6, 60)
    places, hopeless = a_log(settings, random.Random(seed), count)
    scorer = Scorer(settings)
    scorer.run()
    dlq(settings, out, "replay", "--all", "--yes", "--edit", f"{mend}:all_but_hopeless")
    scorer.run()
    expected = answers(settings)
    assert expected.keys() == set(places) - hopeless
    empty(settings)

    rng = random.Random(seed)
    assert a_log(settings, rng, count) == (places, hopeless)
    scorer = Scorer(settings)
    for _ in range(rounds):
        scorer.run(rng)
        if rng.random() < 0.2:
            continue
        edit = rng.choice([[], ["--edit", f"{mend}:versions"], ["--edit", f"{mend}:all_but_hopeless"], ["--edit", f"{mend}:broken"]])
        limit = rng.choice([[], ["--limit", str(rng.randint(1, 20))]])
        arguments = ["replay", "--all", "--yes", *edit, *limit]
        fate = rng.choice(["ends", "killed", "killed before its commit", "killed after its commit", "two at once"])
        stop = {"killed before its commit": "produced", "killed after its commit": "committed"}.get(fate)
        with replaying(settings, out, *arguments, stop=stop) as process:
            if stop is not None:
                if process.stopped():
                    process.kill()
            elif fate == "killed":
                time.sleep(rng.uniform(0, 1.5))
                process.kill()
            elif fate == "two at once":
                with replaying(settings, out.with_suffix(".rival"), *arguments) as rival:
                    rival.ended()
                process.ended()
            else:
                process.ended()
    scorer.run(rng)
    for _ in range(10):
        dlq(settings, out, "replay", "--all", "--yes", "--quarantined", "--edit", f"{mend}:all_but_hopeless")
        if not scorer.run(rng):
            break
    assert answers(settings) == expected
    assert len(sent_again(settings)) > len(expected) / 2


def test_the_check_above_sees_an_original_with_two_successors(settings: Settings, out: Path) -> None:
    (first, *_) = send(settings, [a_record("version", 0)])
    scorer = Scorer(settings)
    scorer.run()
    assert answers(settings) == {}
    dlq(settings, out, "replay", "--all", "--yes", "--edit", 'lambda event: {**event, "version": 1}')
    scorer.run()
    assert answers(settings).keys() == {first}
    send(settings, [a_record("good", 0)], headers=[(HEADER, encode_replay(Replay(*first, 2)))])
    scorer.run()
    with pytest.raises(AssertionError):
        answers(settings)


def test_a_replay_that_was_killed_before_its_commit_sent_nothing_and_the_next_one_sends_all(settings: Settings, out: Path) -> None:
    places = send(settings, [a_record("stray", number) for number in range(3 * BATCH)])
    scorer = Scorer(settings)
    scorer.run()
    with replaying(settings, out, "replay", "--all", "--yes", stop="produced") as process:
        assert process.stopped()
        process.kill()
    assert (committed(settings, NOTES), sent_again(settings)) == ([], {})
    assert listing(settings, out)["open"] == 3 * BATCH
    assert "15 sent again" in dlq(settings, out, "replay", "--all", "--yes")
    assert scorer.run() == 3 * BATCH
    assert answers(settings).keys() == set(places)
    found = listing(settings, out)
    assert (found["open"], found["sent_again"], found["accepted"]) == (0, 3 * BATCH, 3 * BATCH)


def test_a_replay_that_was_killed_after_a_commit_is_gone_on_with(settings: Settings, out: Path) -> None:
    places = send(settings, [a_record("stray", number) for number in range(3 * BATCH)])
    scorer = Scorer(settings)
    scorer.run()
    with replaying(settings, out, "replay", "--all", "--yes", stop="committed") as process:
        assert process.stopped()
        process.kill()
    assert len(sent_again(settings)) == BATCH
    assert "10 sent again" in dlq(settings, out, "replay", "--all", "--yes")
    assert "nothing to send" in dlq(settings, out, "replay", "--all", "--yes")
    scorer.run()
    assert answers(settings).keys() == set(places)


@pytest.mark.parametrize("stop", ["produced", "committed"])
def test_of_two_at_once_the_later_one_takes_over(settings: Settings, out: Path, stop: str) -> None:
    places = send(settings, [a_record("stray", number) for number in range(3 * BATCH)])
    scorer = Scorer(settings)
    scorer.run()
    with replaying(settings, out, "replay", "--all", "--yes", stop=stop) as first:
        assert first.stopped()
        dlq(settings, out.with_suffix(".rival"), "replay", "--all", "--yes")
        first.go_on()
        assert first.ended() == 1
        assert "another `dlq replay` was started and took over" in first.said()
    scorer.run()
    assert answers(settings).keys() == set(places)
    assert len(sent_again(settings)) == 3 * BATCH


def test_a_letter_is_quarantined_when_it_was_sent_so_often_and_sent_again_only_if_asked_for(settings: Settings, out: Path) -> None:
    (place,) = send(settings, [a_record("hopeless", 0)])
    scorer = Scorer(settings)
    scorer.run()
    for _ in range(settings.dlq.max_retries):
        assert "1 sent again" in dlq(settings, out, "replay", "--all", "--yes")
        scorer.run()
    assert "1 would be quarantined" in dlq(settings, out, "replay", "--all", "--dry-run")
    assert "1 quarantined: sent again 3 times already" in dlq(settings, out, "replay", "--all", "--yes")
    found = listing(settings, out)
    assert (found["open"], found["quarantined"], found["refused_again"], found["groups"]) == (0, 1, 3, [])
    assert "1 are quarantined; --quarantined sends them too" in dlq(settings, out, "replay", "--all", "--yes")
    (note,) = [note for note in values(settings, NOTES) if "replayOffset" not in note]
    assert original_of(note) == (place, 3)

    shown = json.loads(dlq(settings, out, "show", f"{place[0]}:{place[1]}", "--json"))
    assert [link["retry_count"] for link in shown["history"]] == [0, 1, 2, 3]
    assert "quarantined" in shown["history"][-1]
    assert shown["record"]["value"] == {"base64": "/zA="}

    assert "1 sent again" in dlq(
        settings, out, "replay", "--all", "--yes", "--quarantined", "--edit", f"lambda event: {a_record('good', 0)[1]!r}"
    )
    scorer.run()
    assert answers(settings).keys() == {place}
    assert listing(settings, out)["accepted"] == 1


def test_a_dry_run_says_what_would_be_accepted_and_sends_nothing(settings: Settings, out: Path) -> None:
    send(settings, [a_record(kind, number) for number, kind in enumerate(KINDS * 3)])
    Scorer(settings).run()
    said = dlq(settings, out, "replay", "--all", "--dry-run")
    assert "3 would be accepted now, 12 refused again; nothing was sent" in said  # the strays
    assert "3 by validate: unknown_version" in said
    said = dlq(settings, out, "replay", "--version", "2", "--dry-run", "--edit", 'lambda event: {**event, "version": 1}')
    assert "3 would be accepted now, 0 refused again" in said
    said = dlq(
        settings, out, "replay", "--step", "decode", "--dry-run", "--edit", "lambda event: event if isinstance(event, dict) else None"
    )
    assert "6 left out: the edit left it out" in said
    assert (sent_again(settings), committed(settings, NOTES)) == ({}, [])


def test_an_edit_that_fails_names_the_place_and_stops_before_its_transaction(settings: Settings, out: Path) -> None:
    places = send(settings, [a_record("version", number) for number in range(0, 10 * BATCH, 5)])  # of one user
    Scorer(settings).run()
    edit = f"lambda event: {{**event, 'version': 1}} if event['eventId'][-3:] != '{5 * (BATCH + 2):03d}' else event['nowhere']"
    with replaying(settings, out, "replay", "--all", "--yes", "--edit", edit) as process:
        assert process.ended() == 1
        place = places[BATCH + 2]
        assert f"--edit failed for {place[0]}:{place[1]}: KeyError: 'nowhere'" in process.said()
        assert f"{BATCH} letters were sent before" in process.said()
    assert len(sent_again(settings)) == BATCH


def test_a_forged_header_deceives_nobody(settings: Settings, out: Path) -> None:
    """Records that claim to be replays of a record that was accepted, and of one that was refused."""
    accepted, refused = send(settings, [a_record("good", 0), a_record("stray", 1)])
    forged = []
    for original in (accepted, refused):
        forged += send(settings, [a_record("version", 2)], headers=[(HEADER, encode_replay(Replay(*original, 3)))])
    forged += send(settings, [a_record("version", 2)], headers=[(HEADER, b'{"partition":0,"offset":9223372036854775808,"retryCount":-1}')])
    scorer = Scorer(settings)
    assert scorer.run() == 5
    assert listing(settings, out)["open"] == 4
    assert "4 sent again" in dlq(settings, out, "replay", "--all", "--yes", "--edit", 'lambda event: {**event, "version": 1}')
    scorer.run()
    again = {original for original, retries in sent_again(settings).values() if retries == 1}
    assert again == {refused, *forged}
    assert listing(settings, out)["accepted"] == 4


def a_large_record(number: int) -> tuple[bytes, bytes, int]:
    """Of version 2, and larger than a dead letter may be, unless it is compressed."""
    key, value, partition = a_record("version", number)
    return key, b'{"padding":"' + b"x" * 5_000_000 + b'",' + value[1:], partition


def test_a_record_too_large_for_its_letter_is_sent_from_the_topic_or_its_archive(settings: Settings, out: Path) -> None:
    records = [a_large_record(number) for number in (0, 5, 10)]  # of one user
    (partition, _), *_ = places = send(settings, records)
    Scorer(settings).run()
    assert all("originalPlace" in data for data in values(settings, LETTERS))
    arguments = "--yes", "--edit", 'lambda event: {**event, "version": 1, "padding": ""}'
    assert "1 sent again" in dlq(settings, out, "replay", f"{partition}:{places[0][1]}", *arguments)

    migrate.apply(settings)
    at = pa.array([1_710_325_333_000_000], pa.timestamp("us", "UTC"))
    key, value, _ = records[1]
    columns = {"topic_partition": pa.array([partition], pa.int32()), "topic_offset": pa.array([places[1][1]], pa.int64())}
    columns |= {"key": pa.array([key], pa.binary()), "value": pa.array([value], pa.binary()), "kafka_time": at, "event_time": at}
    put_records(settings, "user_actions", pa.table(columns))
    client = AdminClient(dict(settings.kafka.client()))
    for future in client.delete_records([TopicPartition(ACTIONS, partition, places[2][1] + 1)]).values():
        future.result(20)
    said = dlq(settings, out, "replay", "--all", *arguments)
    assert "1 sent again" in said
    assert f"1 left out: neither the topic nor its archive table holds the record any more ({partition}:{places[2][1]})" in said
    sent = [message for message in committed(settings, ACTIONS) if message.headers()]
    assert [json.loads(message.value() or b"")["eventId"][-2:] for message in sent] == ["00", "05"]
    assert {message.key() for message in sent} == {key}
    assert dlq(settings, out, "show", f"{partition}:{places[1][1]}").count("x") > 4000


def set_limit(settings: Settings, limit: int) -> None:
    """Let the broker take no larger records of the source topic."""
    entry = ConfigEntry("max.message.bytes", str(limit), incremental_operation=AlterConfigOpType.SET)
    client = AdminClient(dict(settings.kafka.client()))
    for future in client.incremental_alter_configs([ConfigResource("topic", ACTIONS, incremental_configs=[entry])]).values():
        future.result(20)


@pytest.mark.parametrize(
    ("numbers", "size"),
    [
        pytest.param((1, 0, 5), 3_000_000, id="alone in its partition"),
        pytest.param((0, 1, 6), 3_000_000, id="before another"),
        pytest.param((6, 1, 2), 3_000_000, id="between others"),
        pytest.param((0, 6, 1), 3_000_000, id="behind another"),
        pytest.param((6, 1, 2), 300_000, id="in a request with others"),
    ],
)
def test_a_value_that_the_broker_does_not_take_is_left_out_and_the_rest_is_sent(
    settings: Settings, out: Path, tmp_path: Path, numbers: tuple[int, ...], size: int
) -> None:
    set_limit(settings, 200_000)
    places = send(settings, [a_record("version", number) for number in numbers])
    place = places[numbers.index(1)]
    Scorer(settings).run()
    file = tmp_path / "swell.py"
    file.write_text(
        "import random\ndef swell(event):\n"
        f"    return random.Random(7).randbytes({size}) if event['eventId'].endswith('01') else event | {{'version': 1}}\n",
        "utf-8",
    )
    said = dlq(settings, out, "replay", "--all", "--yes", "--edit", f"{file}:swell")
    assert "2 sent again" in said
    assert f"1 left out: the broker takes no value of that size; make it smaller by --edit ({place[0]}:{place[1]})" in said
    assert {original for original, _ in sent_again(settings).values()} == set(places) - {place}
    found = listing(settings, out)
    assert (found["open"], found["unanswered"]) == (1, 2)


def test_nothing_is_sent_while_a_strangers_transaction_hides_the_notes(settings: Settings, out: Path) -> None:
    send(settings, [a_record("stray", 0)])
    Scorer(settings).run()
    stranger = Producer({**settings.kafka.client(), "transactional.id": "stranger"})
    stranger.init_transactions(30)
    stranger.begin_transaction()
    stranger.produce(NOTES, b"no note", partition=0)
    assert stranger.flush(30) == 0
    with replaying(settings, out, "replay", "--all", "--yes") as process:
        assert process.ended() == 1
        assert "expected no open transaction, got one at offset 0 that is not of this command" in process.said()
    stranger.commit_transaction(30)
    assert "1 sent again" in dlq(settings, out, "replay", "--all", "--yes")
    found = listing(settings, out)
    assert (found["sent_again"], found["unreadable"]) == (1, 1)


def test_topics_that_are_missing_are_named_with_their_remedy(settings: Settings, out: Path) -> None:
    client = AdminClient(dict(settings.kafka.client()))
    client.delete_topics([NOTES])[NOTES].result(20)
    with replaying(settings, out, "list") as process:
        assert process.ended() == 1
        assert "expected topic user-actions-replays, which it does not have; run `./streamhouse apply`" in " ".join(process.said().split())
