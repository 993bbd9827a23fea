"""One aggregate of ten million events: how long it takes to load with a snapshot and without, and in how much memory.

    .streamhouse/env/bin/python -m tests.benchmarks.event_store [--events N] [--rounds R] [--json FILE]

A broker of its own, in a folder of its own. The events are written into the log as their owner writes them; then a real owner takes the
partition over, folds it all, and goes on with commands until its policy makes a snapshot. Each load is a process of its own. It ends with
1 when a state differs, or when memory is not bounded.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from confluent_kafka import Producer

from infra.clock import system_clock
from infra.config import ROOT, Settings
from infra.contracts import topics
from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from jobs.bank.account import ACCOUNT, AccountOpened, DepositMoney, MoneyDeposited
from jobs.group_offsets import commit
from jobs.patterns.commands import Commands
from jobs.patterns.event_log import rebuilt
from jobs.patterns.host import Host
from jobs.patterns.kafka_store import KafkaEventStore
from jobs.patterns.message import Envelope, derived_id, encode
from jobs.patterns.participant import Participant
from jobs.patterns.replies import CommandAccepted
from tests.brokers import own_broker

WHO = "account-hot"
MOST_MIB = 400
_CHILD = """
import json, resource, sys
from infra.config import load_settings
from tests.benchmarks.event_store import measured
found = measured(load_settings(), sys.argv[1])
print(json.dumps(found | {"mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}))
"""


def partition() -> int:
    """Where the aggregate lies."""
    return partition_of(WHO, load_contracts().topics[ACCOUNT.topic].partitions)


def events(count: int) -> Iterator[Envelope]:
    """The aggregate's history: it is opened with a cent, and gets one more each time."""
    for i in range(count):
        data = AccountOpened(WHO, 1) if i == 0 else MoneyDeposited(WHO, 1)
        cause = f"{i:032x}"
        yield Envelope(f"{i:08x}-0000-4000-8000-{i:012x}", 1_700_000_000_000 + i, "streamhouse/account", WHO, data, cause, i + 1)


def fill(settings: Settings, count: int) -> float:
    """Write the history; answers how long it took."""
    began, number = time.monotonic(), partition()
    producer = Producer(
        {
            **settings.kafka.client(),
            "enable.idempotence": True,
            "linger.ms": 20,
            "compression.type": "lz4",
            "batch.num.messages": 100_000,
            "batch.size": 1 << 20,
            "queue.buffering.max.messages": 500_000,
            "log_level": 2,
        }
    )
    for event in events(count):
        key, value, headers = encode(event)
        while True:
            try:
                producer.produce(ACCOUNT.topic, value, key, number, headers=list(headers))
                break
            except BufferError:
                producer.poll(0.2)
        producer.poll(0)
    assert producer.flush(120) == 0
    return time.monotonic() - began


def go_on(settings: Settings, commands: int) -> float:
    """A real owner takes over and decides on so many commands; answers how long it took until the first reply, which is the fold."""
    stop = threading.Event()
    numbers = range(load_contracts().topics[ACCOUNT.command_topic].partitions)
    commit(settings, "account", {(ACCOUNT.command_topic, one): 0 for one in numbers})  # it has read nothing yet, and its log is not empty
    host = Host(settings, Participant("account", ACCOUNT), system_clock)
    thread = threading.Thread(target=host.run, args=(stop,))
    began = time.monotonic()
    try:
        with Commands(settings, system_clock, "benchmark", seconds=1200) as sender:
            thread.start()
            futures = [sender.begin(DepositMoney(WHO, 1), derived_id("benchmark", f"{i}")) for i in range(commands)]
            assert isinstance(futures[0].result(1200), CommandAccepted)
            first = time.monotonic() - began
            assert all(isinstance(future.result(300), CommandAccepted) for future in futures)
    finally:
        stop.set()
        thread.join(60)
    return first


def measured(settings: Settings, what: str) -> dict[str, Any]:
    """One load, in this process."""
    began = time.monotonic()
    if what.startswith("owner"):
        held = rebuilt(settings, ACCOUNT, partition(), use_snapshots=what == "owner with")[0][WHO]
    else:
        held = KafkaEventStore(settings, ACCOUNT).load(WHO, use_snapshots=what == "with")
    return {"seconds": time.monotonic() - began, "version": held.version, "balance": held.state.balance}


def child(settings: Settings, what: str) -> dict[str, Any]:
    """The same in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, what],
        cwd=ROOT,
        env={**os.environ, **settings.environment},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    """Answers the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    commands = ACCOUNT.snapshot_every + 500  # so that a snapshot is made on the way
    with tempfile.TemporaryDirectory(prefix="streamhouse-events-", dir=ROOT / ".streamhouse") as name, own_broker(Path(name)) as settings:
        topics.apply(settings)
        print(f"{chosen.events:,} events written in {fill(settings, chosen.events):.0f} s")
        print(f"an owner took over and answered after {go_on(settings, commands):.1f} s")
        rounds = [
            {what: child(settings, what) for what in ("with", "without", "owner with", "owner without")} for _ in range(chosen.rounds)
        ]
    total, wrong = chosen.events + commands, list[str]()
    for what in rounds[0]:
        seconds = sorted(one[what]["seconds"] for one in rounds)
        most = max(one[what]["mib"] for one in rounds)
        print(f"{what:<14} {seconds[0]:9.3f} to {seconds[-1]:9.3f} s, median {median(seconds):9.3f} s, at most {most} MiB")
        if any((one[what]["version"], one[what]["balance"]) != (total, total) for one in rounds):
            wrong.append(f"{what}: expected version and balance {total}, got {rounds[0][what]}")
        if most > MOST_MIB:
            wrong.append(f"{what}: {most} MiB, expected {MOST_MIB} at most")
    ratio = median(one["without"]["seconds"] for one in rounds) / median(one["with"]["seconds"] for one in rounds)
    print(f"ratio          {ratio:.0f}: without a snapshot to with one")
    if chosen.json:
        chosen.json.write_text(json.dumps({"events": total, "rounds": rounds, "ratio": ratio, "wrong": wrong}, indent=1), "utf-8")
    for sentence in wrong:
        print(f"wrong: {sentence}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
