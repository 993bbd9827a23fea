"""Twenty compatible changes of the contracts while the jobs run: nothing restarts, nothing is lost, and each field is a column at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer

from infra.clock import system_clock
from infra.config import ROOT, Settings
from infra.contracts import registry, topics
from infra.contracts.contract import Contracts
from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from infra.stack import flink_rest, supervise
from infra.stack.services import flink_environment, flink_home
from jobs import apply, contract_history
from jobs.apply import Part
from jobs.audit.run import audit
from jobs.submit import ALL_JOBS, submit
from lakehouse import migrate
from lakehouse.archives import of_actions
from lakehouse.catalog import load_table, open_catalog
from lakehouse.query import query
from lakehouse.tables import TABLES
from tests.contracts.changes import COMPATIBLE
from tests.contracts.edits import copied
from tests.end_to_end.actions import an_action
from tests.end_to_end.facts import records, restarts, tables_follow, value_of, wait_for
from tests.end_to_end.stacks import fresh_stack

pytestmark = pytest.mark.timeout(900)
_SECOND: dict[str, Any] = {"version": 2}


@dataclass(frozen=True)
class Sent:
    """An action that only the changed contract lets through or types, and what the table says of it."""

    data: dict[str, Any]
    columns: dict[str, Any]
    event: dict[str, Any] = field(default_factory=dict)


SENT = {
    "a text": Sent({"referrer": "https://example.org/größe"}, {"referrer": "https://example.org/größe"}),
    "an identifier": Sent({"productId": "sku_lamp"}, {"product_id": "sku_lamp"}),
    "an amount": Sent({"priceCents": 2147483647}, {"price_cents": 2147483647}),
    "a number of pieces": Sent({"quantity": 3}, {"quantity": 3}),
    "a share": Sent({"discount": 0.25}, {"discount": 0.25}),
    "a yes or no": Sent({"isGift": True}, {"is_gift": True}),
    "a list": Sent({"labels": ["a", "b"]}, {"labels": ["a", "b"]}),
    "an object": Sent({"place": {"country": "DE", "city": "Köln"}}, {"place": '{"country":"DE","city":"Köln"}'}),
    "one of some names": Sent({"variant": "b"}, {"variant": "b"}),
    "a time": Sent({"shownAt": "2024-07-01T00:00:00.5Z"}, {"shown_at": "2024-07-01T00:00:00.5Z"}),
    "one more name": Sent({"variant": "c"}, {"variant": "c"}),
    "a longer text": Sent({"lifecycle": "x" * 150}, {"lifecycle": "x" * 150}),
    "a wider integer": Sent({"priceCents": 2**53 - 1}, {"price_cents": 2**53 - 1}),
    "null as well": Sent({"quantity": None}, {"quantity": None}),
    "a wider event-time window": Sent({}, {"event_time": "2012-07-01T00:00:00+00:00"}, {"timestamp": "2012-07-01T00:00:00Z"}),
    "a new version with a rename": Sent({"platform": ..., "device": "phone"}, {"device": "phone"}, _SECOND),
    "a field of the new version": Sent(
        {"platform": ..., "device": "tv", "screenWidth": 4096}, {"screen_width": 4096, "device": "tv"}, _SECOND
    ),
}
"""By the compatible change that it needs; the others of them are of other topics."""


@pytest.fixture(scope="module")
def changing() -> Iterator[Settings]:
    """A stack of its own, as its contracts change, with all jobs."""
    with fresh_stack("evolution", ARCHIVE_TOPICS_CHECKPOINT_INTERVAL="2s", ARCHIVE_SHOP_CHECKPOINT_INTERVAL="2s") as settings:
        submit(settings, *ALL_JOBS)
        yield settings


def applied(settings: Settings, contracts: Contracts) -> None:
    """`./streamhouse apply` with these contract files; what does not depend on them is left out, since it takes seconds."""
    tables = {"user_actions": TABLES["user_actions"]}
    changed = contracts.topics.values()
    parts = {
        "topics": Part(lambda s: topics.plan(s, changed), lambda s: topics.apply(s, changed)),
        "schemas": Part(lambda s: registry.plan(s, contracts), lambda s: registry.apply(s, contracts)),
        "tables": Part(lambda s: migrate.plan(s, tables), lambda s: migrate.apply(s, tables)),
        "contracts": Part(lambda s: contract_history.plan(s, contracts), lambda s: contract_history.apply(s, contracts)),
    }
    apply.main(settings, parts=parts)


def send(settings: Settings, sent: Sent) -> str:
    """One action of a user of its own; its event id."""
    name = str(uuid.uuid4())
    event = an_action(eventId=name, data={"userId": name} | sent.data, **sent.event)
    event["data"] = {key: value for key, value in event["data"].items() if value is not ...}
    partitions = load_contracts().topics["user-actions"].partitions
    producer = Producer(settings.kafka.client())
    producer.produce("user-actions", orjson.dumps(event), key=name.encode(), partition=partition_of(name, partitions))
    assert producer.flush(30) == 0
    return name


def commits(settings: Settings) -> int:
    """How many snapshots added records to the table of actions."""
    with open_catalog(settings) as catalog:
        snapshots = load_table(catalog, settings, "user_actions").snapshots()
    return sum(s.summary is not None and s.summary.operation.value == "append" for s in snapshots)


def said(settings: Settings, name: str, columns: list[str]) -> dict[str, Any]:
    quoted = ", ".join(f'"{column}"' for column in columns)
    rows = query(settings, f"SELECT {quoted} FROM user_actions WHERE event_id = '{name}'").to_pylist()
    return {key: value.isoformat() if key == "event_time" else value for row in rows for key, value in row.items()}


def is_said(settings: Settings, name: str, columns: dict[str, Any], until: int) -> bool:
    """Whether the table says so, or it is too late for it: after so many commits."""
    return said(settings, name, list(columns)) == columns or commits(settings) > until


def running(settings: Settings) -> tuple[dict[str, str | None], int]:
    jobs = {name: flink_rest.running(settings, name) for name in ALL_JOBS}
    return jobs, restarts(settings, *ALL_JOBS)


def test_twenty_changes_without_a_restart(changing: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, before = copied(tmp_path), running(changing)
    first = send(changing, Sent({"priceCents": 7}, {}))  # before any contract said that there is such a field
    sent: dict[str, tuple[str, Sent]] = {}
    waited: dict[str, int] = {}
    for change, edit in COMPATIBLE.items():
        edit(folder)
        contracts = load_contracts(folder)
        monkeypatch.setitem(TABLES, "user_actions", of_actions(contracts))
        applied(changing, contracts)
        if change not in SENT:
            continue
        holds = contract_history.announced(changing)[-1].from_ms
        while system_clock() <= holds:
            time.sleep(0.1)
        name = send(changing, SENT[change])
        sent[change] = name, SENT[change]
        known = commits(changing)
        expected = SENT[change].columns
        seen = partial(is_said, changing, name, expected, known + 2)
        wait_for(seen, between=0.2)
        assert said(changing, name, list(expected)) == expected
        waited[change] = commits(changing) - known
    assert set(sent) == set(SENT)
    assert max(waited.values()) <= 2, waited
    assert running(changing) == before
    answers = {value_of(message)["data"]["actionId"] for message in records(changing, "predictions")}
    assert answers == {first} | {name for name, _ in sent.values()}
    assert records(changing, "user-actions-dlq") == []
    for change, (name, one) in sent.items():  # as they are now, and types may have grown
        assert said(changing, name, list(one.columns)) == one.columns, change
    assert said(changing, first, ["price_cents"]) == {"price_cents": 7}
    wait_for(lambda: tables_follow(changing))
    assert audit(changing, settled=True).is_clean
    _becomes_physical(changing, folder)


def _clone(contracts: Path) -> Path:
    """This clone with those contract files, and an environment in which Flink's client takes its code."""
    place = contracts / "clone"
    for part in ("jobs", "features", "models", "lakehouse", "infra"):
        shutil.copytree(ROOT / part, place / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("topics", "schemas", "examples"):
        shutil.rmtree(place / "infra/contracts" / part)
        shutil.copytree(contracts / part, place / "infra/contracts" / part)
    installed = place / ".streamhouse"
    installed.mkdir()
    (installed / "jars").symlink_to(ROOT / ".streamhouse/jars")
    subprocess.run(["cp", "-rs", str(ROOT / ".streamhouse/env"), str(installed / "env")], check=True, timeout=120)
    (where,) = installed.glob("env/lib/python*/site-packages/streamhouse.pth")
    where.unlink()
    where.write_text(f"{place}\n", "utf-8")
    return place


def _becomes_physical(changing: Settings, contracts: Path) -> None:
    """The archiver's next planned start, of the code whose contract files these are: its rows hold the fields in columns, by their ids."""
    place = _clone(contracts)
    job = flink_rest.alive(changing, "archive_topics")
    assert job is not None
    flink_rest.stop_with_savepoint(changing, job)
    client = ["-m", f"{changing.flink.host}:{changing.flink.rest_port}", "-pyclientexec", str(place / ".streamhouse/env/bin/python")]
    command = [str(flink_home() / "bin/flink"), "run", "--detached", *client, "-py", str(place / "jobs/archive_topics.py")]
    environment = {**supervise.inherited(os.environ), **changing.environment, **flink_environment(changing)}
    done = subprocess.run(command, env=environment, cwd=changing.state, capture_output=True, text=True, check=False, timeout=300)
    assert "submitted archive_topics as job" in done.stdout, done.stdout + done.stderr
    name = send(changing, Sent({"platform": ..., "device": "tv", "screenWidth": 4096, "priceCents": 2**40, "labels": ["a"]}, {}, _SECOND))
    columns = ("device", "screen_width", "price_cents", "labels", "product_id")

    def stored() -> list[dict[str, Any]]:
        with open_catalog(changing) as catalog:
            rows = load_table(catalog, changing, "user_actions").scan(f"event_id = '{name}'", selected_fields=columns).to_arrow()
        return list(rows.to_pylist())

    wait_for(lambda: len(stored()) == 1)
    assert stored() == [{"device": "tv", "screen_width": 4096, "price_cents": 2**40, "labels": ["a"], "product_id": None}]
    wait_for(lambda: tables_follow(changing))
    assert audit(changing, settled=True).is_clean
