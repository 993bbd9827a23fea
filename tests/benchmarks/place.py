"""Where a benchmark measures: a stack of its own or the one that is named; the profiles it needs; what is told of the machine."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import confluent_kafka
import psutil
from filelock import FileLock, Timeout

from features.materialize import materialize_profiles
from infra.config import Settings, load_settings
from infra.errors import StreamhouseError
from jobs import interrupts
from jobs.clickstream import Clickstream
from lakehouse.append import overwrite
from tests.benchmarks.actions import Section, section_profiles
from tests.end_to_end.stacks import fresh_stack

_PACKAGES = ("apache-flink", "confluent-kafka", "feast", "onnxruntime", "numpy", "pyarrow", "redis")


@contextlib.contextmanager
def stack(changed: Mapping[str, str], *, here: bool) -> Iterator[Settings]:
    """A stack of its own, ended and deleted afterwards; or, `here`, the one of the environment's STREAMHOUSE_ variables, which is up.

    Raises:
        StreamhouseError: settings are to be changed `here`, where the services have read them already; or another benchmark's stack is up
            in the same folder, which this one would end.

    """
    if here and changed:
        message = "--set cannot change a stack that is up: set it as STREAMHOUSE_KEY=VALUE for `./streamhouse up`, or leave out --here"
        raise StreamhouseError(message)
    interrupts.heed()
    # what apply and Feast print is none of the report
    with contextlib.redirect_stdout(sys.stderr), contextlib.ExitStack() as ends:
        if not here:
            ends.enter_context(alone(load_settings()))
        settings = load_settings() if here else ends.enter_context(fresh_stack("benchmark", keep=False, **changed))
        ends.callback(interrupts.ignore)  # one more while the stack ends would leave it running
        yield settings


@contextlib.contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """One benchmark at a time.

    Raises:
        StreamhouseError: another one runs.

    """
    try:
        with FileLock(settings.installed / "benchmark.lock", timeout=0):
            yield
    except Timeout:
        message = "a benchmark runs already; wait for its end, or end it"
        raise StreamhouseError(message) from None


def overrides(texts: Sequence[str]) -> dict[str, str]:
    """Settings as --set takes them.

    Raises:
        StreamhouseError: a text without an equals sign.

    """
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            message = f"--set {text!r}: expected KEY=VALUE, as SCORE_EVENTS_PARALLELISM=2"
            raise StreamhouseError(message)
        found[key] = value
    return found


def bring_profiles(settings: Settings, clickstream: Clickstream, sections: list[Section]) -> None:
    """Profiles of the sections' users, and no others, into their table and the online store."""
    overwrite(settings, "user_profiles", section_profiles(clickstream, sections), "benchmark")
    materialize_profiles(settings, datetime.now(UTC))


def machine(settings: Settings, changed: Mapping[str, str], load: float) -> dict[str, str]:
    """What a number depends on besides the code. `load`: the load average before the measurement."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "commit": _commit(settings),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "load average": f"{load:.1f} at the start, {os.getloadavg()[0]:.1f} at the end",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
        "librdkafka": confluent_kafka.libversion()[0],
        "model": settings.score_events.model,
        "score_events": f"parallelism {settings.score_events.parallelism}, {settings.score_events.batch_rows} rows a batch,"
        f" checkpoint every {settings.score_events.checkpoint_interval}",
        **{f"set {key}": value for key, value in changed.items()},
    }


def _commit(settings: Settings) -> str:
    """What was measured; a plus where files differ from it."""
    asked = ["git", "-C", str(settings.root), "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
