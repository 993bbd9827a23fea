"""Services that subscribe, by the very commands that the README shows: each group hears everything, and goes on where it stopped."""

from __future__ import annotations

import re
import signal
import subprocess
import uuid
from collections import Counter
from pathlib import Path

import pytest

from infra.config import ROOT, Settings
from tests.end_to_end.actions import minutes, send
from tests.end_to_end.facts import Place, answered, place_of, records, value_of, wait_for
from tests.end_to_end.readme import environment, said, shown
from tests.ports import free_ports

pytestmark = pytest.mark.timeout(900)


class Service:
    """The example under a group of its own, its output in a file."""

    def __init__(self, settings: Settings, group: str, file: Path) -> None:
        self.file = file
        start = shown(".streamhouse/env/bin/python examples/follow")
        assert start.endswith(" my-service")
        command = [*start.split()[:-1], group, settings.kafka.servers]
        with file.open("wb") as out:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment(settings), stdout=out, stderr=subprocess.STDOUT)

    def heard(self) -> list[Place]:
        return [(int(partition), int(offset)) for partition, offset in re.findall(r"^(\d+)/(\d+) \S+ [\d.]+", self.file.read_text(), re.M)]

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, self.file.read_text()[-2000:]


def test_a_service_publishes_actions_and_finds_the_bad_one_among_the_dead_letters(archived: Settings) -> None:
    command = shown(".streamhouse/env/bin/python examples/send_actions").removesuffix("ada")
    sent = said(archived, f"{command} sends-{uuid.uuid4()} {archived.kafka.servers}")
    places = [(int(partition), int(offset)) for partition, offset in re.findall(r"^user-actions (\d)/(\d+)$", sent, re.MULTILINE)]
    assert len(places) == 3
    *good, bad = sorted(places)  # one user's, so in one partition, in order
    wait_for(lambda: set(good) <= set(answered(archived)))

    def letters() -> set[Place]:
        letters = (value_of(message)["data"] for message in records(archived, "user-actions-dlq"))
        return {(data["sourcePartition"], data["sourceOffset"]) for data in letters}

    wait_for(lambda: bad in letters())
    assert not set(good) & letters()
    assert bad not in answered(archived)
    assert "sends them again" in said(archived, shown("./streamhouse dlq list"))


def test_two_services_each_hear_every_prediction_and_a_restarted_one_goes_on(archived: Settings, tmp_path: Path) -> None:
    stack, name = archived, f"uses-{uuid.uuid4()}"
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


def test_consume_prints_a_topic_as_far_as_its_group_has_not_heard_it(archived: Settings) -> None:
    stack, group = archived, f"uses-{uuid.uuid4()}"
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
    error = said(stack, "./streamhouse consume clicks -n 1", status=1)
    assert error.startswith("error: no contract names topic 'clicks'; expected one of account-commands, ")
    assert "predictions" in error


def test_consume_says_when_no_broker_answers(stack: Settings) -> None:
    (port,) = free_ports(1)
    error = said(stack, "./streamhouse consume predictions", status=1, STREAMHOUSE_KAFKA_PORT=port)
    assert error == f"error: no broker answers at 127.0.0.1:{port}; run `./streamhouse up`\n"
