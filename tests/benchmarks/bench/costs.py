"""What running it costs: seconds until the stack and a job answer, memory by service, bytes on disk for each million actions.

It ends the stack's jobs and starts the stack anew, so it comes after all other parts. Memory is PSS, in which pages that processes
share count once. Disk is what files take, not how long they are: Kafka's indexes are made 10 MB long and hold next to nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson
import psutil
import redis

from infra.clock import system_clock
from infra.config import ROOT, Settings, load_settings
from infra.contracts.codec import rfc3339
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError
from infra.stack import groups, supervise
from infra.stack.apart import clear
from infra.stack.services import TASKMANAGERS
from jobs.archive_columns import ARCHIVED
from jobs.archive_topics import NAME as ARCHIVER
from jobs.clickstream import Clickstream, Row
from jobs.scoring_parts import SOURCE_TOPIC
from jobs.submit import SCORER, submit
from lakehouse.catalog import load_table, open_catalog
from tests.benchmarks.actions import Section, section_rows
from tests.benchmarks.bench.calm import Calibration
from tests.benchmarks.bench.drains import drained
from tests.benchmarks.bench.job import stop
from tests.benchmarks.bench.legs import OURS, Leg, Run
from tests.benchmarks.place import bring_profiles
from tests.benchmarks.processes import WORKERS, Meter, stack_groups
from tests.benchmarks.sides import flink_side
from tests.benchmarks.submit import start

FIRST_PREDICTION, START_NEW, START_AGAIN = "costs: first prediction", "costs: start in an empty folder", "costs: start again"
AT_REST, WAITING, LOADED, DISK = "costs: memory at rest", "costs: memory of a waiting job", "costs: memory under load", "costs: disk"
MEMORY = (AT_REST, WAITING, LOADED)
ARCHIVED_WITH = {"STREAMHOUSE_ARCHIVE_TOPICS_CHECKPOINT_INTERVAL": "1s", "STREAMHOUSE_ARCHIVE_TOPICS_MAINTAIN_EVERY_COMMITS": "5"}
"""What waits is archived some five times as fast as 2,000 actions a second come: with a second between commits, a commit holds as many as
one of the default five seconds does then."""
_LOOK_SECONDS, _UPKEEP_SECONDS, _PATIENCE = 0.5, 15.0, 600.0
_HOUR_MS = 3_600_000
_NO_ROWS = ("used_memory_startup", "mem_clients_normal", "mem_aof_buffer")  # Redis' memory that grows with no user
_FOLLOW_SECONDS = 3.0  # in which keeper and meter have read the last answers
_ANSWERS = re.compile(r"^(\S+) answers after ([0-9.]+) s$", re.MULTILINE)


@dataclass(frozen=True)
class Plan:
    """`actions`: in the drain under which memory is taken; how many starts of the job and of the stack; seconds of rest before a look."""

    actions: int
    submits: int
    starts: int
    rest_seconds: float

    def section(self) -> Section:
        """All actions that are sent."""
        return Section("costs", self.actions)


def costs(run: Run, clickstream: Clickstream, plan: Plan) -> None:
    """Measure all of it, on a stack that begins anew, so that its files hold what is sent here alone. Afterwards it is up without a job.

    Raises:
        AnswersWrong: an action was left unanswered or answered twice.
        StreamhouseError: a start or the archive came to no end.

    """
    settings = run.settings
    clear(settings)
    settings.state.mkdir(parents=True)
    _leg(run, START_NEW, 1, lambda: _started(settings))
    time.sleep(plan.rest_seconds)
    _leg(run, AT_REST, 1, lambda: {"pss_mib": memory(settings), "after_seconds": plan.rest_seconds})
    _command(settings, "apply")
    bring_profiles(settings, clickstream, [plan.section()])
    for number in range(1, plan.submits + 1):
        stop(settings, SCORER)
        _leg(run, FIRST_PREDICTION, number, lambda: _first_prediction(settings))
    time.sleep(plan.rest_seconds)
    _leg(run, WAITING, 1, lambda: {"pss_mib": memory(settings)})
    _leg(run, LOADED, 1, lambda: _under_load(settings, clickstream, plan))
    _leg(run, DISK, 1, lambda: _disk(settings))
    for number in range(1, plan.starts + 1):
        _command(settings, "down")
        _leg(run, START_AGAIN, number, lambda: _started(settings))


def _of_today(rows: Sequence[Row]) -> list[Row]:
    """The same actions within the last hour, in their order, as they would come live: a table has a file for each day of its actions."""
    now, found = system_clock(), []
    for place, row in enumerate(rows):
        event = orjson.loads(row.value)
        time_ms = now - _HOUR_MS + _HOUR_MS * place // len(rows)
        found.append(replace(row, time=time_ms, value=orjson.dumps(event | {"timestamp": rfc3339(time_ms)})))
    return found


def _leg(run: Run, part: str, repeat: int, measure: Callable[[], dict[str, Any]]) -> None:
    before = run.calm.look()
    figures = measure()
    run.legs.append(Leg(part, OURS, repeat, Calibration(before, run.calm.look(), run.calm.undisturbed), figures))
    run.say(f"{part}: {_said(figures)}")


def _said(figures: Mapping[str, Any]) -> str:
    if "seconds" in figures:
        return f"{figures['seconds']:.1f} s"
    if "pss_mib" in figures:
        return f"{sum(figures['pss_mib'].values()):,.0f} MiB"
    return f"of {figures['actions']:,} actions"


def _first_prediction(settings: Settings) -> dict[str, Any]:
    one = start(settings, ROOT)
    return {"seconds": one.moments["first prediction"], "moments": one.moments, "cpu_seconds": one.cpu_seconds}


def _command(settings: Settings, *words: str) -> str:
    """One command of ours as a person gives it."""
    environment = {**supervise.inherited(os.environ), **settings.environment}
    command = [str(ROOT / "streamhouse"), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=_PATIENCE)
    if done.returncode:
        message = f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()[-300:]}"
        raise StreamhouseError(message)
    return done.stdout


def _started(settings: Settings) -> dict[str, Any]:
    """`up`: seconds until the command ends, and by service since its processes were begun; CPU seconds of each until then."""
    began = time.monotonic()
    said = _command(settings, "up")
    took = time.monotonic() - began
    used = {name: sum(map(_cpu_seconds, processes)) for name, processes in by_service(settings).items()}
    return {"seconds": took, "services": answered(said), "cpu_seconds": used}


def answered(said: str) -> dict[str, float]:
    """What `up` says -> by service, after how many seconds it answered."""
    return {name: float(seconds) for name, seconds in _ANSWERS.findall(said)}


def by_service(settings: Settings) -> dict[str, list[psutil.Process]]:
    """Every process of the stack, by service; the Python workers of all jobs together, and who looks after them all."""
    found: dict[str, list[psutil.Process]] = {}
    for state in supervise.states(settings):
        with contextlib.suppress(psutil.NoSuchProcess):
            if not state.pid:
                continue
            process = psutil.Process(state.pid)
            below = process.children(recursive=True)
            if state.name in (*TASKMANAGERS, "forkserver"):
                found.setdefault(WORKERS, []).extend(below)
                below = []
            found[state.name] = [process, *below]
    pid = supervise.pid_file(settings)
    with contextlib.suppress(OSError, ValueError, psutil.NoSuchProcess):
        found["supervisor"] = [psutil.Process(int(pid.read_text("utf-8")))]
    return {name: processes for name, processes in found.items() if processes}


def memory(settings: Settings) -> dict[str, float]:
    """MiB of each service's processes now."""
    return {name: sum(map(_pss, processes)) / 2**20 for name, processes in by_service(settings).items()}


def _pss(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return int(process.memory_full_info().pss)
    return 0


def _cpu_seconds(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


@dataclass
class _Peak(contextlib.AbstractContextManager["_Peak"]):
    """Each service's most MiB while the block runs, and the most of all together, which is less than the sum of those."""

    settings: Settings
    of: dict[str, float] = field(default_factory=dict)
    together: float = 0.0

    def __enter__(self) -> _Peak:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            now = memory(self.settings)
            self.of = {name: max(self.of.get(name, 0.0), now.get(name, 0.0)) for name in {**self.of, **now}}
            self.together = max(self.together, sum(now.values()))


def _under_load(settings: Settings, clickstream: Clickstream, plan: Plan) -> dict[str, Any]:
    """Of a drain, by service the most memory and, those that look on included, CPU microseconds an action."""
    rows = _of_today(list(section_rows(clickstream, plan.section())))
    meter = Meter(lambda: by_service(settings))
    with _Peak(settings) as peak:
        drained(settings, flink_side(settings, OURS), rows)
        time.sleep(_FOLLOW_SECONDS)
    used = {name: seconds / plan.actions * 1e6 for name, seconds in meter.cpu_seconds().items()}
    return {"pss_mib": peak.of, "together_mib": peak.together, "actions": plan.actions, "cpu_us": used}


def _disk(settings: Settings) -> dict[str, Any]:
    """Archive what lies in the topics to its end, and then weigh everything that the state folder holds of it.

    `actions`: how many it was, and `archive_cpu_seconds` what that took by group of processes, the job's start with it; `archive_steady`
    the same of those `actions` that were left after the first commit that held some. Bytes by topic, by table, and of the rest; `users`:
    keys in the online store.
    """
    stop(settings, SCORER)  # it has CPU of its own also where it waits
    submit(load_settings({**settings.environment, **ARCHIVED_WITH}), ARCHIVER)
    meter = Meter(lambda: stack_groups(settings))
    steady: Meter | None = None
    most = left = 0
    deadline = time.monotonic() + _PATIENCE
    while (waiting := _waiting(settings)) is None or any(waiting.values()):
        left_now = 0 if waiting is None else waiting.get(SOURCE_TOPIC, 0)
        if steady is None and left_now < most:
            steady, left = Meter(lambda: stack_groups(settings)), left_now
        most = max(most, left_now)
        if time.monotonic() > deadline:
            message = f"the archive did not come to its end within {_PATIENCE:.0f} s; see `./streamhouse logs taskmanager`"
            raise StreamhouseError(message)
        time.sleep(0.5)
    of_steady = {} if steady is None else steady.cpu_seconds()
    time.sleep(_UPKEEP_SECONDS)  # a merge and what it lets go of
    used = meter.cpu_seconds()
    stop(settings, ARCHIVER)
    tables = {topic: _table(settings, load_contracts().topics[topic].archive) for topic in ARCHIVED[ARCHIVER]}
    return {
        "actions": tables["user-actions"]["rows"],
        "archive_cpu_seconds": used,
        "archive_steady": {"actions": left, "cpu_seconds": of_steady},
        "kafka_bytes": topics_bytes(settings.state / "kafka" / "data"),
        "tables": {topic: figures for topic, figures in tables.items() if figures["rows"]},
        "catalog_bytes": sum(taken(file) for file in settings.lake.folder.glob("catalog.db*")),
        "checkpoint_bytes": sum(taken(settings.state / "flink" / name) for name in ("checkpoints", "savepoints")),
        "log_bytes": taken(settings.state / "logs") + taken(settings.state / "flink" / "log"),
        **_redis(settings),
    }


def _waiting(settings: Settings) -> dict[str, int] | None:
    """By topic, how many records the archive has not committed; None: it has committed nothing yet."""
    found: dict[str, int] = {}
    for there in groups.lags(settings):
        if there.group == ARCHIVER:
            found[there.topic] = found.get(there.topic, 0) + there.lag
    return found or None


def _table(settings: Settings, name: str) -> dict[str, int]:
    """Of one table: `data_bytes` and `files` that its newest snapshot names, all that its folder holds, and commits so far."""
    with open_catalog(settings) as catalog:
        held = load_table(catalog, settings, name)
        newest = held.current_snapshot()
        said = {} if newest is None or newest.summary is None else newest.summary.additional_properties
        folder = Path(held.location().removeprefix("file://"))
        return {
            "rows": int(said.get("total-records", 0)),
            "files": int(said.get("total-data-files", 0)),
            "data_bytes": int(said.get("total-files-size", 0)),
            "data_folder_bytes": taken(folder / "data"),
            "metadata_bytes": taken(folder / "metadata"),
            "commits": 0 if newest is None else newest.sequence_number or 0,
        }


def _redis(settings: Settings) -> dict[str, Any]:
    """Bytes in memory beyond those of an empty Redis and its buffers, and in its file: as it was written, and after it was written anew."""
    with contextlib.closing(redis.Redis(host=settings.redis.host, port=settings.redis.port)) as client:
        written = int(_told(client)["aof_current_size"])
        client.execute_command("BGREWRITEAOF")  # type: ignore[no-untyped-call]
        deadline = time.monotonic() + 60
        while (told := _told(client))["aof_rewrite_in_progress"] or told["aof_rewrite_scheduled"]:
            if time.monotonic() > deadline:
                raise StreamhouseError("Redis did not rewrite its file within 60 s")
            time.sleep(0.1)
        return {
            "users": int(client.execute_command("DBSIZE")),  # type: ignore[no-untyped-call]
            "redis_bytes": int(told["used_memory"]) - sum(int(told[name]) for name in _NO_ROWS),
            "aof_bytes": written,
            "aof_rewritten_bytes": int(told["aof_current_size"]),
        }


def _told(client: redis.Redis) -> Mapping[str, Any]:
    told = client.info()
    assert isinstance(told, dict)
    return told


def topics_bytes(folder: Path) -> dict[str, int]:
    """By topic, what the folders of its partitions take."""
    found: Counter[str] = Counter()
    for partition in folder.iterdir():
        if re.search(r"-\d+$", partition.name):
            found[partition.name.rpartition("-")[0]] += taken(partition)
    return dict(found)


def taken(place: Path) -> int:
    """Bytes that a file, or all files below a folder, take on disk; 0 where there is none."""
    files = [place] if place.is_file() else place.rglob("*")
    total = 0
    for file in files:
        with contextlib.suppress(FileNotFoundError):  # it expired meanwhile
            if not file.is_symlink() and file.is_file():
                total += 512 * file.stat().st_blocks
    return total
