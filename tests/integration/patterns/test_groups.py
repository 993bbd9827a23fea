"""Three services read one topic, each in its own group: at its own pace, and where one is set back no other moves."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

from infra.clock import system_clock
from infra.config import Settings, load_settings
from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from infra.errors import StreamhouseError
from infra.stack import groups
from infra.stack.groups import GroupLag, GroupPart
from infra.stack.report import Report, status
from jobs.cli import app
from jobs.committed_records import read_all
from jobs.patterns.database import open_database
from jobs.patterns.message import Envelope, Message, derived_id, encode
from jobs.shop import messages as m
from jobs.shop.analytics import counts
from jobs.shop.notification import file_of
from tests.brokers import empty_topics
from tests.integration.patterns.conftest import Serve
from tests.ports import free_ports

ORDERS = "orders"
SERVICES = {"notification": ("jobs.shop.notification",), "analytics": ("jobs.shop.analytics",), "inventory": ("jobs.serve", "inventory")}
_SECONDS = 180


@pytest.fixture
def topics(broker: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The broker with empty topics, and a state folder of the test's own."""
    environment = {"STREAMHOUSE_STATE": str(tmp_path / "state"), "STREAMHOUSE_KAFKA_BOOTSTRAP_SERVERS": broker.kafka.servers}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    own = load_settings(environment)
    empty_topics(own)
    return own


class Orders:
    """Sends the events of whole orders as the order service does, in transactions; every other one is shipped."""

    def __init__(self, settings: Settings) -> None:
        own = {"transactional.id": "test-orders", "partitioner": "murmur2_random", "log_level": 2}
        self._producer = Producer({**settings.kafka.client(), **own})
        self._producer.init_transactions(30)
        self.sent = 0

    def send(self, count: int) -> None:
        """So many orders; three events each."""
        self._producer.begin_transaction()
        for i in range(self.sent, self.sent + count):
            name, cents = f"o{i}", i + 1
            about = (name, "u", "north", (m.Item("pen", 1, cents),), cents, system_clock() + 600_000)
            end: Message = m.OrderShipped(name, "u") if i % 2 else m.OrderCancelled(name, "u", "x", cents)
            for data in (m.OrderPlaced(*about), m.OrderPaid(*about), end):
                key, value, headers = encode(Envelope(derived_id(name, type(data).__name__), system_clock(), "test", "c", data))
                self._producer.produce(ORDERS, value, key, partition_of(name, 4), headers=list(headers))
        self.sent += count
        self._producer.commit_transaction(30)

    @property
    def revenue(self) -> int:
        return sum(i + 1 for i in range(self.sent) if i % 2)


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def of(settings: Settings, group: str, topic: str = ORDERS) -> list[GroupPart]:
    return [part for part in groups.parts(settings) if (part.group, part.topic) == (group, topic)]


def lag(settings: Settings, group: str, topic: str = ORDERS) -> int:
    """-1 while the group has not read every partition."""
    found = of(settings, group, topic)
    return sum(part.lag for part in found) if len(found) == 4 and all(part.committed is not None for part in found) else -1


def committed(settings: Settings, group: str) -> dict[int, int | None]:
    return {part.partition: part.committed for part in of(settings, group)}


def end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    process.wait(120)


def groups_command(*arguments: str, expect: int = 0) -> str:
    done = CliRunner().invoke(app, ["groups", *arguments], catch_exceptions=False)
    assert done.exit_code == expect, done.output
    return done.output


def notified(settings: Settings) -> list[str]:
    return [json.loads(line)["orderId"] for line in file_of(settings).read_text("utf-8").splitlines()]


def revenue_and_orders(settings: Settings) -> tuple[int, int]:
    database = open_database(settings)
    try:
        found = counts(database)
    finally:
        database.dispose()
    return sum(cents for _, cents in found.values()), sum(orders for (_, status), (orders, _) in found.items() if status == "placed")


def decided(settings: Settings) -> list[bytes | None]:
    return [message.value() for message in read_all(settings, "inventory", load_contracts().topics["inventory"].partitions)]


def gone(settings: Settings, group: str) -> None:
    """Until the broker has noticed that nobody is in it."""
    wait_until(lambda: not groups.members_of(settings, group).names)


def status_elsewhere(settings: Settings) -> Report:
    """What `status` says where nothing but this broker answers."""
    ports = dict(zip(("FLINK_REST_PORT", "REDIS_PORT", "REGISTRY_PORT"), free_ports(3), strict=True))
    nothing = {f"STREAMHOUSE_{name}": port for name, port in ports.items()} | {"STREAMHOUSE_STACK_START": "nothing"}
    return status(load_settings({**settings.environment, **nothing}))


def test_each_service_has_its_own_pace_and_its_own_place(topics: Settings, program: Serve) -> None:
    orders, running = Orders(topics), {name: program(*command) for name, command in SERVICES.items()}
    orders.send(20)
    wait_until(lambda: {name: lag(topics, name) for name in ("notification", "analytics")} == {"notification": 0, "analytics": 0})
    wait_until(lambda: lag(topics, "inventory") == 0 and len(decided(topics)) == 20)

    end(running["notification"])
    assert running["notification"].returncode == 0
    orders.send(10)
    wait_until(lambda: lag(topics, "analytics") == 0 and lag(topics, "inventory") == 0 and len(decided(topics)) == 30)
    assert lag(topics, "notification") == 30
    seen = {(one.group, one.topic): one for one in groups.lags(topics)}
    assert seen["notification", ORDERS] == GroupLag("notification", ORDERS, 30, 0)
    assert seen["analytics", ORDERS] == GroupLag("analytics", ORDERS, 0, 1)
    assert {topic for group, topic in seen if group == "inventory"} == {ORDERS, "inventory-commands", "shipping"}
    assert not [group for group, _ in seen if group.startswith("streamhouse-")]
    assert [one for one in status_elsewhere(topics).groups if one.topic == ORDERS] == [one for one in seen.values() if one.topic == ORDERS]
    listed = json.loads(groups_command("list", "--json"))
    assert sum(part["lag"] for part in listed if part["group"] == "notification") == 30

    before = {name: committed(topics, name) for name in ("analytics", "inventory")}
    said = groups_command("reset", "notification", "--topic", ORDERS, "--to", "beginning", "--dry-run")
    assert "would be read again, 0 skipped; nothing was changed" in said
    assert lag(topics, "notification") == 30
    groups_command("reset", "notification", "--topic", ORDERS, "--to", "beginning")
    assert lag(topics, "notification") == 90
    assert {name: committed(topics, name) for name in before} == before
    with pytest.raises(StreamhouseError, match=r"expected no members, got 1 \(analytics at .*end them \(./streamhouse shop down"):
        groups_command("reset", "analytics", "--topic", ORDERS, "--to", "end")
    program(*SERVICES["notification"])
    wait_until(lambda: lag(topics, "notification") == 0)
    assert sorted(notified(topics)) == sorted(f"o{i}" for i in range(30))  # the first twenty are known from the file
    assert revenue_and_orders(topics) == (orders.revenue, 30)


def is_late(key: bytes | None) -> bool:
    """Whether an order is one of o20 to o29."""
    return len(key or b"") == 3 and (key or b"").startswith(b"o2")


def test_a_reset_goes_to_an_offset_to_a_time_and_to_the_end(topics: Settings, program: Serve) -> None:
    orders, service = Orders(topics), program(*SERVICES["notification"])
    orders.send(20)
    wait_until(lambda: lag(topics, "notification") == 0)
    end(service)
    caught_up = committed(topics, "notification")
    time.sleep(0.05)
    orders.send(10)
    since = min(message.timestamp()[1] for message in list(read_all(topics, ORDERS, 4)) if is_late(message.key()))
    reset = ("reset", "notification", "--topic", ORDERS, "--to")
    moment = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(since / 1000))}.{since % 1000:03d}Z"
    groups_command(*reset, "end")
    assert lag(topics, "notification") == 0
    groups_command(*reset, "time", moment)
    assert lag(topics, "notification") == 30
    groups_command(*reset, "offset", "1", "--partition", "2")
    after = committed(topics, "notification")
    assert after[2] == 1
    for number in (0, 1, 3):
        assert (after[number] or 0) >= (caught_up[number] or 0)
    groups_command(*reset, "offset", "999999")
    assert lag(topics, "notification") == 0
    for arguments, says in (
        (("reset", "nobody", "--topic", ORDERS, "--to", "end"), "group 'nobody': expected one that has read orders, and it never did"),
        (("reset", "notification", "--topic", "payments", "--to", "end"), "it reads orders"),
        ((*reset, "end", "--partition", "4"), "orders has partitions 0 to 3"),
    ):
        with pytest.raises(StreamhouseError, match=says):
            groups_command(*arguments)


def test_what_is_set_back_changes_no_count_and_no_decision(topics: Settings, program: Serve) -> None:
    orders = Orders(topics)
    running = [program(*SERVICES[name]) for name in ("analytics", "inventory")]
    orders.send(20)
    wait_until(lambda: lag(topics, "analytics") == 0 and len(decided(topics)) == 20)
    for process in running:
        end(process)
    gone(topics, "inventory")
    before = decided(topics)
    groups_command("reset", "analytics", "--topic", ORDERS, "--to", "beginning")
    with pytest.raises(StreamhouseError, match=r"it is a participant's.*latest 1,000.*Add --yes"):
        groups_command("reset", "inventory", "--topic", ORDERS, "--to", "beginning")
    assert "it would be refused" in groups_command("reset", "inventory", "--topic", ORDERS, "--to", "beginning", "--dry-run", expect=1)
    groups_command("reset", "inventory", "--topic", ORDERS, "--to", "beginning", "--yes")
    for name in ("analytics", "inventory"):
        program(*SERVICES[name])
    read = (("analytics", ORDERS), ("inventory", ORDERS), ("inventory", "inventory-commands"))
    wait_until(lambda: all(lag(topics, name, topic) == 0 for name, topic in read))
    assert revenue_and_orders(topics) == (orders.revenue, 20)
    assert decided(topics) == before

    end_of = committed(topics, "analytics")
    (process,) = [program(*SERVICES["analytics"])]  # a second one shares the partitions
    wait_until(lambda: len(groups.members_of(topics, "analytics").names) == 2)
    orders.send(10)
    wait_until(lambda: lag(topics, "analytics") == 0 and committed(topics, "analytics") != end_of)
    end(process)
    assert revenue_and_orders(topics) == (orders.revenue, 30)


def test_services_that_are_killed_tell_each_user_and_count_each_order_once(topics: Settings, program: Serve) -> None:
    random, orders = Random(3), Orders(topics)
    names: Sequence[str] = ("notification", "analytics")
    running = {name: program(*SERVICES[name]) for name in names}
    for _ in range(6):
        for _ in range(5):
            orders.send(random.randint(1, 8))
            time.sleep(random.uniform(0.0, 0.3))
        name = random.choice(names)
        running[name].kill()
        running[name].wait(120)
        running[name] = program(*SERVICES[name])
    wait_until(lambda: all(lag(topics, name) == 0 for name in names))
    assert Counter(notified(topics)) == Counter(f"o{i}" for i in range(orders.sent))
    assert revenue_and_orders(topics) == (orders.revenue, orders.sent)
