"""up, down, status, doctor: the whole stack as one thing."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator

import psutil
from filelock import FileLock

from infra.config import Settings
from infra.errors import StreamhouseError, environment_name
from infra.stack import flink_rest, health, jars, supervise
from infra.stack.services import Service, java_home, redis_server, services, write_files

UP_SECONDS = 120
_NEEDED_MEMORY = 4 << 30
_NEEDED_DISK = 3 << 30
_PORT_SETTINGS = {
    "broker": ("kafka.port", "kafka.controller_port"),
    "jobmanager": ("flink.rest_port", "flink.rpc_port"),
    "redis": ("redis.port",),
    "registry": ("registry.port", "registry.management_port"),
}


def up(settings: Settings, report: Callable[[str], None]) -> None:
    """Start what does not run and wait until each service answers. Works twice; two at a time wait for each other.

    Raises:
        StreamhouseError: a port is taken, a part is missing, or a service does not come up.

    """
    settings.state.mkdir(parents=True, exist_ok=True)
    with FileLock(settings.state / "up.lock", timeout=UP_SECONDS):
        jars.install(settings)
        wanted = services(settings)
        if not supervise.states(settings):
            if faults := list(_ports_taken(settings, wanted)):
                raise StreamhouseError(faults[0])
            write_files(settings)
            _format_broker(settings)
            supervise.start(settings, wanted)
        _wait(settings, [service.name for service in wanted], report)


def _wait(settings: Settings, names: list[str], report: Callable[[str], None]) -> None:
    missing, started = list(names), time.monotonic()
    while missing:
        for name in list(missing):
            if health.answers(settings, name):
                missing.remove(name)
                report(f"{name} answers after {time.monotonic() - started:.1f} s")
        if missing and time.monotonic() - started > UP_SECONDS:
            message = f"{', '.join(missing)} did not answer within {UP_SECONDS} s; see `./streamhouse logs {missing[0]}`"
            raise StreamhouseError(message)
        time.sleep(0.2)


def _format_broker(settings: Settings) -> None:
    """Give a new broker its cluster id. Transactions of version 1: the Flink connector cannot recover those of version 2."""
    folder = settings.state / "kafka"
    if not settings.kafka.is_embedded or (folder / "data" / "meta.properties").exists():
        return
    tool = [
        str(java_home() / "bin" / "java"),
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-cp",
        str(jars.installed(settings, "kafka") / "*"),
    ]
    tool += ["kafka.tools.StorageTool", "format", "-t", str(uuid.uuid4()), "-c", str(folder / "server.properties")]
    done = subprocess.run(
        [*tool, "--standalone", "--feature", "transaction.version=1"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if done.returncode:
        message = f"the broker's storage cannot be formatted: {done.stderr.strip()[-300:]}"
        raise StreamhouseError(message)


def down(settings: Settings, report: Callable[[str], None], *, savepoints: bool = True) -> None:
    """Stop each job with a savepoint, then every service; afterwards no process of this state folder is left."""
    if supervise.states(settings) and savepoints and health.answers(settings, "jobmanager"):
        for job in flink_rest.jobs(settings):
            if job.state == "RUNNING":
                try:
                    flink_rest.stop_with_savepoint(settings, job)
                    report(f"{job.name} stopped with a savepoint")
                except StreamhouseError as error:
                    report(str(error))
    supervise.stop(settings)
    left = [port for service in services(settings) for port in service.ports if health.is_open(service.host, port)]
    if left:
        report(f"port {left[0]} is still open, held by {health.holder(left[0])}: not ours")


def doctor(settings: Settings) -> list[str]:
    """Everything that would keep the stack from working, a sentence with its remedy each; empty: all is well."""
    return [fault for check in _DOCTOR for fault in check(settings)]


def _missing_parts(settings: Settings) -> Iterator[str]:
    for name in jars.SETS:
        if not jars.is_installed(settings, name):
            yield f"jars of {name} are missing or incomplete in {jars.installed(settings, name)}; run `./streamhouse up`, it fetches them"
    if not (java_home() / "bin" / "java").exists():
        yield f"no java at {java_home()}; delete {settings.installed / 'env'} and run any command, it makes the environment again"
    if not os.access(redis_server(), os.X_OK):
        yield f"{redis_server()} cannot be run; delete {settings.installed / 'env'} and run any command"


def _state_folder(settings: Settings) -> Iterator[str]:
    folder = settings.state
    while not folder.exists():
        folder = folder.parent
    probe = folder / f".streamhouse-{os.getpid()}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        yield f"state folder {settings.state} cannot be written ({error.strerror}); mend its rights or set STREAMHOUSE_STATE"
        return
    if (free := shutil.disk_usage(folder).free) < _NEEDED_DISK:
        yield f"{settings.state} has {free / 2**30:.1f} GiB of disk left, expected {_NEEDED_DISK >> 30}; free some or set STREAMHOUSE_STATE"


def _memory(settings: Settings) -> Iterator[str]:
    asked = sum(
        megabytes(text)
        for text in (
            settings.flink.jobmanager_memory,
            settings.flink.taskmanager_memory,
            settings.kafka.heap,
            settings.registry.heap,
        )
    )
    needed = max(_NEEDED_MEMORY, (asked << 20) + (1 << 30))
    running = sum(state.memory for state in supervise.states(settings))
    if (free := psutil.virtual_memory().available + running) < needed:
        yield (
            f"{free / 2**30:.1f} GiB of memory are free, expected {needed / 2**30:.1f} for these settings;"
            f" close something or lower {environment_name('flink.taskmanager_memory')}"
        )


def _ports_free(settings: Settings) -> Iterator[str]:
    if not supervise.states(settings):
        yield from _ports_taken(settings, services(settings))


def _ports_taken(settings: Settings, wanted: list[Service]) -> Iterator[str]:
    for service in wanted:
        for port, setting in zip(service.ports, _PORT_SETTINGS.get(service.name, ()), strict=True):
            if health.is_open(service.host, port):
                yield (
                    f"port {port} of {service.name} is held by {health.holder(port)};"
                    f" end it or choose another port with {environment_name(setting)}"
                )


def _services_answer(settings: Settings) -> Iterator[str]:
    states = {state.name: state for state in supervise.states(settings)}
    for service in services(settings) if states else []:
        state = states.get(service.name)
        if state is None or state.word != "running" or not health.answers(settings, service.name):
            word = state.word if state else "unknown to the supervisor"
            yield f"service {service.name} does not answer (it is {word}); see `./streamhouse logs {service.name}`"


_DOCTOR: tuple[Callable[[Settings], Iterator[str]], ...] = (
    _missing_parts,
    _state_folder,
    _memory,
    _ports_free,
    _services_answer,
)


def megabytes(text: str) -> int:
    """`512m`, `2g` -> MiB."""
    number, unit = text.lower().removesuffix("b")[:-1], text.lower().removesuffix("b")[-1]
    return int(number) * {"m": 1, "g": 1024}[unit]
