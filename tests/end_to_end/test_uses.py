"""The four uses, by the very commands that the README shows: jobs, notebook, a service, SQL."""

from __future__ import annotations

import bisect
import csv
import io
import json
import os
import re
import signal
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import nbformat
import orjson
import pytest
from confluent_kafka import Message, Producer
from nbclient import NotebookClient
from sklearn.metrics import roc_auc_score

from infra.config import ROOT, Settings
from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from infra.stack import flink_rest
from jobs.clickstream import open_clickstream
from jobs.notebook import DEFAULT
from jobs.play import play
from jobs.submit import submit
from lakehouse.read import read
from models.manifest import PUBLISHED, load_manifest, published
from tests.end_to_end.facts import records, wait_for
from tests.ports import free_ports

pytestmark = pytest.mark.timeout(900)
TOPICS = ("user-actions", "predictions", "user-actions-dlq")
SECTION = (ROOT / "README.md").read_text("utf-8").split("\n## Four ways to use it\n")[1].split("\n## ")[0]
Place = tuple[int, int]  # partition and offset


def shown(start: str, **values: str) -> str:
    """The one command of the README's section that starts so, with values in the place of its words in capitals."""
    lines = [line.removeprefix("    ") for line in SECTION.splitlines() if line.startswith(f"    {start}")]
    assert len(lines) == 1, f"{start!r} stands {len(lines)} times in the README's section"
    command = re.sub(r"\s{2,}#.*", "", lines[0])
    for word, value in values.items():
        assert word in command
        command = command.replace(word, value)
    return command


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """That of a user's shell who works with the tests' stack."""
    return {**os.environ, **settings.environment, **more}


def said(settings: Settings, *commands: str, status: int = 0, **more: str) -> str:
    """What commands print, given to one shell that starts in the repository."""
    script = "set -e\n" + "\n".join(commands)
    done = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, env=environment(settings, **more), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == status, f"{commands} ended with {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout if status == 0 else done.stderr


def value_of(message: Message) -> Any:
    return orjson.loads(message.value() or b"")


def place_of(message: Message) -> Place:
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    return partition, offset


def answered(settings: Settings) -> Counter[Place]:
    """How often each place in user-actions was answered by a prediction."""
    return Counter(
        (data["actionPartition"], data["actionOffset"]) for data in (value_of(m)["data"] for m in records(settings, "predictions"))
    )


def send(settings: Settings, user: str, *times: datetime, action: str = "product_view") -> list[Place]:
    """Actions of one user, in this order; answers where they lie."""
    topic, places = load_contracts().topics["user-actions"], []
    producer = Producer({**settings.kafka.client(), "enable.idempotence": True})

    def delivered(error: Any, message: Message) -> None:
        assert error is None, error
        places.append(place_of(message))

    for moment in times:
        data = {"userId": user, "sessionId": "s", "action": action, "platform": None, "lifecycle": None}
        event = {"eventType": "UserAction", "eventId": str(uuid.uuid4()), "timestamp": moment.strftime("%Y-%m-%dT%H:%M:%SZ"), "version": 1}
        value = orjson.dumps({**event, "source": "test", "correlationId": "c", "data": data})
        partition = partition_of(user, topic.partitions)
        producer.produce(topic.name, value, key=user.encode(), partition=partition, on_delivery=delivered)
    assert producer.flush(60) == 0
    assert len(places) == len(times)
    return places


NOON = datetime(2024, 6, 30, 12, tzinfo=UTC)


def minutes(*after_noon: int) -> list[datetime]:
    return [NOON + timedelta(minutes=minute) for minute in after_noon]


@pytest.fixture(scope="module")
def shop_played(stack: Settings) -> Settings:
    """The clickstream and a late action sent and answered, and all of it in the tables."""
    topic, clickstream = load_contracts().topics["user-actions"], open_clickstream(ROOT / "data" / "shop_clickstream.csv.gz")
    play(stack, topic, clickstream, speed=None, clock=time.monotonic, sleep=time.sleep, progress=lambda _: None)
    send(stack, f"late-{uuid.uuid4()}", *minutes(10, 0, 20))
    wait_for(lambda: len(records(stack, "predictions")) + len(records(stack, "user-actions-dlq")) >= len(records(stack, "user-actions")))
    wait_for(lambda: tables_follow(stack))
    return stack


def tables_follow(settings: Settings) -> bool:
    return all(
        read(settings, topic.replace("-", "_"), columns=["topic_offset"]).num_rows == len(records(settings, topic)) for topic in TOPICS
    )


# ---- a job by Flink's own client


@pytest.fixture
def scoring_afterwards(shop_played: Settings) -> Iterator[Settings]:
    """Whatever a test does to the job, the next one finds it running."""
    try:
        yield shop_played
    finally:
        submit(shop_played, "score_events")


def test_a_job_started_by_bare_flink_run_goes_on_and_is_found_by_its_name(scoring_afterwards: Settings) -> None:
    stack = scoring_afterwards
    first = flink_rest.alive(stack, "score_events")
    assert first is not None
    shell = shown("eval ")
    user = f"uses-{uuid.uuid4()}"

    # the user's own programs stay within reach of that shell
    listed = said(stack, shell, "mine", shown("flink list"), PATH=f"{a_program(stack, 'mine')}:{os.environ['PATH']}")
    assert f"{first.id} : score_events (RUNNING)" in listed
    assert "mine was called" in listed

    (savepoint,) = re.findall(r"Path: (\S+)", said(stack, shell, shown("flink stop", JOB_ID=first.id)))
    assert flink_rest.alive(stack, "score_events") is None
    assert flink_rest.restorable(stack, "score_events") == Path(savepoint.removeprefix("file:"))
    missed = send(stack, user, *minutes(0, 1, 2))
    before = answered(stack)
    assert not set(missed) & set(before)

    (second,) = re.findall(r"JobID (\w{32})", said(stack, shell, shown("flink run", SAVEPOINT=savepoint)))
    running = flink_rest.alive(stack, "score_events")
    assert running is not None
    assert running.id == second
    wait_for(lambda: set(missed) <= set(answered(stack)))
    assert answered(stack) == before + Counter(missed)  # each once, and nothing a second time
    assert said(stack, shown("./streamhouse submit")) == f"score_events runs already as job {second}\n"

    # what Flink's own client started, the short way finds again
    stopped = flink_rest.stop_with_savepoint(stack, running)
    assert stopped.name.startswith(f"savepoint-{second[:6]}-")
    between = send(stack, user, *minutes(3, 4))
    started = said(stack, shown("./streamhouse submit"))
    assert re.fullmatch(rf"score_events started as job \w{{32}} from {stopped.name}\n", started)
    wait_for(lambda: set(between) <= set(answered(stack)))
    assert answered(stack) == before + Counter([*missed, *between])

    # and Feast's own command line reads what all three runs of the job counted
    feature = json.loads(said(stack, shown("./streamhouse feast", user_0000=user)))
    assert feature == {"user_id": [user], "actions_1h": [5]}


def a_program(settings: Settings, name: str) -> Path:
    """A folder with a program that says that it was called."""
    folder = settings.state / "programs"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\necho {name} was called\n")
    (folder / name).chmod(0o755)
    return folder


def test_a_killed_job_of_bare_flink_run_goes_on_from_its_last_checkpoint(scoring_afterwards: Settings) -> None:
    stack = scoring_afterwards
    running = flink_rest.alive(stack, "score_events")
    assert running is not None
    origin = flink_rest.stop_with_savepoint(stack, running)
    said(stack, shown("eval "), shown("flink run", SAVEPOINT=str(origin)))
    user = f"uses-{uuid.uuid4()}"
    places = send(stack, user, *minutes(0, 1))
    wait_for(lambda: set(places) <= set(answered(stack)))
    again = flink_rest.alive(stack, "score_events")
    assert again is not None
    flink_rest.cancel(stack, again)
    wait_for(lambda: flink_rest.alive(stack, "score_events") is None)
    before = answered(stack)

    assert re.search(r" from chk-\d+$", submit(stack, "score_events"))
    more = send(stack, user, *minutes(2))
    wait_for(lambda: set(more) <= set(answered(stack)))
    assert answered(stack) == before + Counter(more)


@pytest.mark.parametrize("path", ["/jars/upload", "/v1/jars/upload"])
def test_a_jar_cannot_be_uploaded(stack: Settings, path: str) -> None:
    jar = min((stack.state / "flink" / "lib").glob("*.jar"), key=lambda file: file.stat().st_size)
    with jar.open("rb") as content:
        answer = httpx.post(
            f"{stack.flink.rest_url}{path}", files={"jarfile": (jar.name, content, "application/x-java-archive")}, timeout=30
        )
    assert 400 <= answer.status_code < 500
    assert httpx.get(f"{stack.flink.rest_url}/config", timeout=30).json()["features"]["web-submit"] is False
    assert httpx.get(f"{stack.flink.rest_url}/jars", timeout=30).status_code == httpx.codes.NOT_FOUND


# ---- the notebook

PROBE = """
import json
print(json.dumps({
    "predictions": len(predictions), "actions": len(outcomes), "bought": int(outcomes.bought.sum()), "judged": len(judged),
    "alarms": len(alarms), "auc": roc_auc_score(judged.bought, judged.score), "deciles": calibration.actions.tolist(),
    "in_deciles": float((calibration.bought * calibration.actions).sum()), "weekly": int(weeks.actions.sum()),
    "flags": flags.predictions.to_dict(), "late": len(late), "flagged": int(late.flagged.sum()), "surest": surest["score"],
}))
"""


def test_the_notebook_runs_by_one_command_and_shows_what_lies_in_the_topics(shop_played: Settings) -> None:
    printed = said(shop_played, shown("./streamhouse notebook"))
    folder = shop_played.state / "notebooks"
    assert str(folder / "predictions.ipynb") in printed
    assert (folder / "predictions.html").as_uri() in printed
    notebook: Any = nbformat.read(folder / "predictions.ipynb", as_version=4)
    outputs = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    assert not [o for cell in outputs.values() for o in cell if o.output_type == "error" or o.get("name") == "stderr"]
    plots = [name for name, cell in outputs.items() if any("image/png" in o.get("data", {}) for o in cell)]
    assert plots == ["distribution", "calibration", "weeks"]

    expected = from_topics(shop_played)
    text = {name: "".join(o.text for o in cell if o.output_type == "stream") for name, cell in outputs.items()}
    assert text["predictions"].startswith(f"{expected['predictions']:,} predictions for ")
    assert text["judged"].startswith(f"{expected['judged']:,} actions, ")
    assert f"AUC {expected['auc']:.3f} " in text["judged"]
    assert text["late"] == f"{expected['late']:,} actions came late, {expected['flagged']:,} of them are flagged so\n"
    html = (folder / "predictions.html").read_text("utf-8")
    assert html.count("data:image/png;base64,") == len(plots)
    assert f"AUC {expected['auc']:.3f} " in html


def test_the_notebook_runs_in_the_users_own_jupyter(shop_played: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said(shop_played, shown(".streamhouse/env/bin/python -m ipykernel"), JUPYTER_DATA_DIR=str(tmp_path))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    notebook: Any = nbformat.read(ROOT / DEFAULT, as_version=4)
    assert (tmp_path / "kernels" / notebook.metadata.kernelspec.name).is_dir()
    notebook.cells.append(nbformat.v4.new_code_cell(PROBE))
    # from the repository's root, while the command starts in notebooks/; the kernel is the one that the notebook names
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}})
    client.execute(env=environment(shop_played, IPYTHONDIR=str(tmp_path / "ipython")))
    got = json.loads("".join(output.text for output in notebook.cells[-1].outputs))

    expected = from_topics(shop_played)
    assert got.pop("auc") == pytest.approx(expected.pop("auc"), abs=1e-12)
    assert sum(got.pop("deciles")) == got["judged"]
    assert got.pop("in_deciles") == pytest.approx(expected.pop("bought_later"))
    assert got.pop("weekly") == got["actions"]
    assert got.pop("surest") == pytest.approx(expected.pop("surest"), abs=1e-6)
    assert got == expected


def from_topics(settings: Settings) -> dict[str, Any]:
    """What the notebook must find, counted from the topics without the tables and without SQL."""
    actions = {place_of(message): value_of(message)["data"] for message in records(settings, "user-actions") if is_json(message)}
    rows = []
    for message in records(settings, "predictions"):
        event = value_of(message)
        data = event["data"]
        place = (data["actionPartition"], data["actionOffset"])
        rows.append((place, datetime.fromisoformat(event["timestamp"]), data["userId"], actions[place]["action"], data))
    rows.sort(key=lambda row: row[0])

    purchases: dict[str, list[datetime]] = {}
    latest: dict[str, datetime] = {}
    late, flagged = 0, 0
    for _, moment, user, action, data in rows:
        if action == "purchase":
            bisect.insort(purchases.setdefault(user, []), moment)
        if moment < latest.get(user, moment):
            late += 1
            flagged += "late_action" in data["flags"]
        latest[user] = max(moment, latest.get(user, moment))

    def bought(user: str, moment: datetime) -> bool:
        mine = purchases.get(user, [])
        place = bisect.bisect_right(mine, moment)
        return place < len(mine) and mine[place] <= moment + timedelta(minutes=30)

    end = max(moment for _, moment, *_ in rows) - timedelta(minutes=30)
    split = load_manifest(published(PUBLISHED, settings.score_events.model)).training.split
    first, unseen = datetime.fromisoformat(split["train"][0]), datetime.fromisoformat(split["test"][0])
    known = [(moment, bought(user, moment), data) for _, moment, user, _, data in rows if moment <= end]
    judged = [(was, data) for moment, was, data in known if not first <= moment < unseen]
    return {
        "predictions": len(rows),
        "actions": len(known),
        "bought": sum(was for _, was, _ in known),
        "judged": len(judged),
        "alarms": sum(data["decision"] for _, data in judged),
        "auc": roc_auc_score([was for was, _ in judged], [data["score"] for _, data in judged]),
        "bought_later": sum(was for was, _ in judged),
        "flags": dict(Counter(flag for *_, data in rows for flag in data["flags"])),
        "late": late,
        "flagged": flagged,
        "surest": max(data["score"] for *_, data in rows),
    }


def is_json(message: Message) -> bool:
    try:
        value_of(message)
    except orjson.JSONDecodeError:
        return False
    return True


def test_a_notebook_without_tables_says_what_to_run(stack: Settings, tmp_path: Path) -> None:
    error = said(stack, "./streamhouse notebook", status=1, STREAMHOUSE_STATE=str(tmp_path / "nothing"))
    assert error.startswith("error: a cell of predictions.ipynb ended with LakehouseError: table `predictions`")
    assert error.rstrip().endswith("run `./streamhouse up && ./streamhouse apply`, or `./streamhouse demo`")
    assert len(error.splitlines()) == 1


# ---- a service


class Service:
    """The example under a group of its own, its output in a file."""

    def __init__(self, settings: Settings, group: str, file: Path) -> None:
        self.file = file
        start = shown(".streamhouse/env/bin/python examples/")
        assert start.endswith(" my-service")
        command = [*start.split()[:-1], group, settings.kafka.servers]
        with file.open("wb") as out:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment(settings), stdout=out, stderr=subprocess.STDOUT)

    def heard(self) -> list[Place]:
        return [(int(partition), int(offset)) for partition, offset in re.findall(r"^(\d+)/(\d+) \S+ [\d.]+", self.file.read_text(), re.M)]

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, self.file.read_text()[-2000:]


def test_two_services_each_hear_every_prediction_and_a_restarted_one_goes_on(shop_played: Settings, tmp_path: Path) -> None:
    stack, name = shop_played, f"uses-{uuid.uuid4()}"
    everything = Counter(place_of(message) for message in records(stack, "predictions"))
    services = [Service(stack, f"{name}-{letter}", tmp_path / letter) for letter in "ab"]
    try:
        for service in services:
            wait_for(lambda service=service: len(service.heard()) >= len(everything))  # type: ignore[misc]
            assert Counter(service.heard()) == everything
        text = services[0].file.read_text()
        decided = sum(value_of(message)["data"]["decision"] for message in records(stack, "predictions"))
        assert text.count("<- about to purchase") == decided > 0

        services[0].stop()
        actions = send(stack, name, *minutes(0, 1, 2))
        wait_for(lambda: set(actions) <= set(answered(stack)))
        new = Counter(place_of(message) for message in records(stack, "predictions")) - everything
        assert len(new) == len(actions)
        wait_for(lambda: len(services[1].heard()) >= len(everything) + len(new))
        assert Counter(services[1].heard()) == everything + new

        services.append(Service(stack, f"{name}-a", tmp_path / "a-again"))
        wait_for(lambda: len(services[2].heard()) >= len(new))
        services[2].stop()
        services[1].stop()
        assert Counter(services[2].heard()) == new
    finally:
        for service in services:
            if service.process.poll() is None:
                service.process.kill()
                service.process.wait(60)


def test_consume_prints_a_topic_as_far_as_its_group_has_not_heard_it(shop_played: Settings) -> None:
    stack, group = shop_played, f"uses-{uuid.uuid4()}"
    known = [message.value() for message in records(stack, "predictions")]

    def lines(command: str) -> list[bytes]:
        return [line.encode() for line in said(stack, command).splitlines()]

    three, next_three = lines(shown("./streamhouse consume predictions -n 3")), lines(shown("./streamhouse consume predictions -n 3"))
    assert len({*three, *next_three}) == 6
    assert {*three, *next_three} <= set(known)

    in_group = shown("./streamhouse consume predictions --group", **{"my-group": group})
    assert in_group.endswith(" --idle 5")
    begun = lines(f"./streamhouse consume predictions --group {group} -n 3")
    rest = lines(in_group)
    assert len(begun) == 3
    assert Counter(begun) + Counter(rest) == Counter(known)
    assert lines(in_group) == []


def test_consume_names_a_topic_that_no_contract_knows(stack: Settings) -> None:
    assert "no contract names topic 'clicks'; expected one of predictions" in said(stack, "./streamhouse consume clicks -n 1", status=1)


def test_consume_says_when_no_broker_answers(stack: Settings) -> None:
    (port,) = free_ports(1)
    error = said(stack, "./streamhouse consume predictions", status=1, STREAMHOUSE_KAFKA_PORT=port)
    assert error == f"error: no broker answers at 127.0.0.1:{port}; run `./streamhouse up`\n"


# ---- SQL


def test_query_answers_from_the_tables_for_people_and_for_programs(shop_played: Settings) -> None:
    stack = shop_played
    assert "predictions" in said(stack, shown('./streamhouse query "SHOW TABLES"'))

    sql = shown('./streamhouse query "SELECT model_version')
    predictions = [value_of(message)["data"] for message in records(stack, "predictions")]
    counts = Counter((data["model"]["version"], data["decision"]) for data in predictions)
    people = said(stack, sql)
    assert all(re.search(rf"│ {version} +│ {decision} +│ {n} ", people) for (version, decision), n in counts.items()), people
    assert "2 rows" in people
    rows = list(csv.DictReader(io.StringIO(said(stack, sql.replace("query ", "query --csv ")))))
    assert {(row["model_version"], row["decision"] == "True"): int(row["n"]) for row in rows} == counts

    send_refused(stack)
    wait_for(lambda: len(records(stack, "user-actions-dlq")) > 0 and tables_follow(stack))
    reasons = Counter(value_of(message)["data"]["error"]["reason"] for message in records(stack, "user-actions-dlq"))
    lines = said(stack, shown("./streamhouse query --json")).splitlines()
    assert {row["reason"]: row["n"] for row in map(json.loads, lines)} == reasons


def send_refused(settings: Settings) -> None:
    """An action from before there was a shop: a dead letter."""
    before = len(records(settings, "user-actions-dlq"))
    send(settings, "refused", datetime(1970, 1, 1, tzinfo=UTC))
    wait_for(lambda: len(records(settings, "user-actions-dlq")) > before)
