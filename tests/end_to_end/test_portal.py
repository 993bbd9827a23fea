"""The portal over the whole running stack, by its command and in a real browser: nothing that is not there, and all that is."""

from __future__ import annotations

import re
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # re-exported in silence

from infra.config import ROOT, Settings
from infra.contracts.load import load_contracts
from infra.contracts.registry import subject_of
from infra.stack import flink_rest, groups
from lakehouse.overview import held_tables
from tests.browser import browser
from tests.end_to_end.readme import environment

Found = set[tuple[str, str]]


@pytest.fixture
def address(archived: Settings, tmp_path: Path) -> Iterator[str]:
    """Where `./streamhouse portal` serves the tests' stack."""
    output = tmp_path / "portal.txt"
    with output.open("wb") as out:
        process = subprocess.Popen(
            ["./streamhouse", "portal", "--port", "0"], cwd=ROOT, env=environment(archived), stdout=out, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + 180
        while not (found := re.search(r"http://127\.0\.0\.1:\d+", output.read_text("utf-8"))):
            assert process.poll() is None, output.read_text("utf-8")
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield found[0]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(120)


def looked(address: str) -> dict[str, Any]:
    told: dict[str, Any] = httpx.get(f"{address}/live.json", timeout=60).raise_for_status().json()
    assert told["seen"]["silent"] == {}
    return told


def found(address: str) -> Found:
    """What is said to be wrong. Lag comes and goes while others work, so groups that stand still count only where they were planted."""
    return {(one["kind"], one["node"]) for one in looked(address)["findings"] if one["kind"] not in ("stopped_group", "deprecated_sent")}


def wait_until_found(address: str, wanted: Found) -> None:
    deadline = time.monotonic() + 180
    while (now := found(address)) != wanted:
        assert time.monotonic() < deadline, f"expected {sorted(wanted - now)} more, got {sorted(now - wanted)}"
        time.sleep(0.5)


def test_it_names_nothing_that_is_not_there_and_misses_nothing_that_is(archived: Settings, address: str) -> None:
    seen = looked(address)["seen"]
    client = AdminClient(dict(archived.kafka.client()))
    there = {name for name in client.list_topics(timeout=10).topics if not name.startswith("__")}
    assert {topic["name"] for topic in seen["topics"]} == there
    assert {group["name"] for group in seen["groups"]} == {group.name for group in groups.known(archived, 15.0)}
    assert {table["name"] for table in seen["tables"]} == {table.name for table in held_tables(archived)}
    assert {job["name"] for job in seen["jobs"]} == {job.name for job in flink_rest.jobs(archived) if job.is_alive}
    assert seen["online"]["keys"] > 0
    declared = {subject_of(topic.name, *event) for topic in load_contracts().topics.values() for event in topic.events}
    assert {subject for subject, versions in seen["subjects"].items() if versions} == declared
    rows = {table["name"]: table["rows"] for table in seen["tables"]}
    assert rows["user_actions"] >= 31_106

    before = found(address)
    assert not [kind for kind, _ in before if kind not in ("dead_topic", "dead_group", "unread_topic", "undeclared_reader")]
    topic, group = f"planted-{uuid.uuid4()}", f"gone-{uuid.uuid4()}"
    client.create_topics([NewTopic(topic, 1, 1)])[topic].result(20)
    producer = Producer(dict(archived.kafka.client()))
    producer.produce(topic, b"{}")
    assert producer.flush(20) == 0
    consumer = Consumer({**archived.kafka.client(), "group.id": group, "enable.auto.commit": False})
    consumer.commit(offsets=[TopicPartition("predictions", 0, 0)], asynchronous=False)
    consumer.close()
    try:
        wait_until_found(address, before | {("undeclared_topic", f"topic:{topic}"), ("dead_group", f"group:{group}")})
        with browser() as tab:
            tab.look(360, 780)
            tab.open(f"{address}/")
            tab.wait("document.querySelector('.findings').innerText.includes('Undeclared topic')")
            said = tab.text(".findings")
            assert topic in said
            assert group in said
            links = tab.run("[...document.querySelectorAll('main a')].map(one => one.getAttribute('href'))")
            assert {archived.flink.rest_url, archived.registry.url, archived.portal.feast_url} <= set(links)
            assert tab.run("document.documentElement.scrollWidth") == 360
            assert tab.errors == []
    finally:
        client.delete_topics([topic])[topic].result(20)
        client.delete_consumer_groups([group])[group].result(20)
    wait_until_found(address, before)


def test_an_export_of_the_running_stack_holds_what_was_seen(archived: Settings, tmp_path: Path) -> None:
    command = ["./streamhouse", "portal", "--export", str(tmp_path / "made")]
    done = subprocess.run(command, cwd=ROOT, env=environment(archived), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(file.name for file in (tmp_path / "made").iterdir()) == ["asyncapi.yaml", "catalogue.json", "index.html"]
    with browser() as tab:
        tab.open((tmp_path / "made" / "index.html").as_uri())
        tab.go("#/table/user_actions")
        rows = re.search(r"Rows\s+(\d+,\d{3})", tab.text())
        assert rows is not None
        assert int(rows[1].replace(",", "")) >= 31_106  # of the clickstream alone; other tests archive more
        assert tab.text("#state").startswith("as of 20")
        assert tab.errors == []
