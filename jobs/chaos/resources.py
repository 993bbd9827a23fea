"""What must be back where it was when the faults are over: memory, files, processes, transactions; and no secret in any log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from confluent_kafka import Consumer, TopicPartition

from infra.config import Settings
from infra.contracts.load import load_contracts
from infra.stack import flink_rest, supervise
from infra.stack.services import TASKMANAGERS
from jobs.chaos.ground import children
from jobs.chaos.place import PASSWORD, PAYLOAD
from jobs.chaos.reader import LETTERS, PREDICTIONS

_CHUNK = 1 << 22
_TEMPORARY_MOST = 600 << 20  # 20 MB for each of Flink's processes, and 40 for each job that it ran
_PAGES = ("", "/config", "/plan", "/exceptions", "/checkpoints")
_TOGETHER = "both TaskManagers"


@dataclass(frozen=True)
class Used:
    """By one service and its children: resident bytes, open files, processes."""

    memory: int
    files: int
    processes: int


def used(settings: Settings) -> dict[str, Used]:
    """By each service; both TaskManagers together, since a fault moves the jobs from one to the other."""
    found: dict[str, Used] = {}
    for state in supervise.states(settings):
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(state.pid)
            all_of_it = [process, *children(process)]
            name = _TOGETHER if state.name in TASKMANAGERS else state.name
            more = found.get(name, Used(0, 0, 0))
            files = sum(_files(one) for one in all_of_it)
            found[name] = Used(more.memory + state.memory, more.files + files, more.processes + len(all_of_it))
    return found


def _files(process: psutil.Process) -> int:
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return int(process.num_fds())
    return 0


def grown(before: dict[str, Used], after: dict[str, Used]) -> list[str]:
    """What takes more than it did, beyond what a JVM's heap that fills up explains; a sentence each."""
    said = []
    for name, then in sorted(before.items()):
        now = after.get(name)
        if now is None:
            said.append(f"service {name} is gone")
            continue
        if now.memory > 1.5 * then.memory + (512 << 20):
            said.append(f"service {name} takes {now.memory >> 20} MiB, {then.memory >> 20} before the faults")
        if now.files > 1.5 * then.files + 100:
            said.append(f"service {name} holds {now.files} files open, {then.files} before the faults")
        if now.processes > then.processes:
            said.append(f"service {name} has {now.processes} processes, {then.processes} before the faults")
    return said


def left_behind(settings: Settings) -> list[str]:
    """Processes without a parent, temporary files of processes that are gone, and transactions that nobody ends."""
    said = [f"process {process.pid} ({process.name()}) was left behind" for process in supervise.orphans(settings)]
    if (temporary := _size(settings.state / "flink" / "tmp")) > _TEMPORARY_MOST:
        said.append(f"Flink's temporary folder holds {temporary >> 20} MiB, expected at most {_TEMPORARY_MOST >> 20}")
    for topic in (PREDICTIONS, LETTERS):
        for partition in range(load_contracts().topics[topic].partitions):
            stable, end = (_end(settings, TopicPartition(topic, partition), level) for level in ("read_committed", "read_uncommitted"))
            if stable != end:
                said.append(f"topic {topic}, partition {partition}: a transaction hangs at offset {stable}, the end is {end}")
    return said


def _size(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += file.lstat().st_size
    return total


def _end(settings: Settings, place: TopicPartition, level: str) -> int:
    client = {**settings.kafka.client(), "group.id": "streamhouse-chaos-ends", "isolation.level": level, "log_level": 0}
    with closing(Consumer(client)) as consumer:
        return int(consumer.get_watermark_offsets(place, timeout=30)[1])


def told(settings: Settings) -> list[str]:
    """Where a secret stands: the password anywhere in the state folder or in Flink's pages, a payload in any log or page.

    Except in Flink's temporary folder: there lies, as long as a job runs, the job itself, with what it needs to connect.
    """
    temporary = str(settings.state / "flink" / "tmp")
    said = [f"the broker's password stands in {file}" for file in _files_with(settings.state, PASSWORD) if not file.startswith(temporary)]
    for folder in (settings.state / "logs", settings.state / "flink" / "log"):
        said += [f"a part of an event stands in {file}" for file in _files_with(folder, PAYLOAD)]
    pages = ["/jobs/overview", "/jobmanager/config", "/taskmanagers"]
    pages += [f"/jobs/{job.id}{page}" for job in flink_rest.jobs(settings) for page in _PAGES]
    for page in pages:
        text = httpx.get(f"{settings.flink.rest_url}{page}", timeout=10).text
        said += [
            f"{what} stands in Flink's page {page}"
            for what, secret in (("the password", PASSWORD), ("a part of an event", PAYLOAD))
            if secret in text
        ]
    return said


def _files_with(folder: Path, secret: str) -> Iterator[str]:
    for file in sorted(folder.rglob("*")):
        if file.is_file() and not file.is_symlink() and _holds(file, secret.encode()):
            yield str(file)


def _holds(file: Path, secret: bytes) -> bool:
    with suppress(FileNotFoundError), file.open("rb") as content:  # checkpoints come and go
        rest = b""
        while chunk := content.read(_CHUNK):
            if secret in rest + chunk:
                return True
            rest = chunk[-len(secret) :]
    return False
