"""What would keep the stack from working: each fault a sentence that names the thing and the remedy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator

import psutil

from infra.config import Settings
from infra.errors import SettingsError, environment_name
from infra.stack import health, jars, supervise
from infra.stack.services import Service, java_home, redis_server, services

_NEEDED_MEMORY = 4 << 30
_NEEDED_DISK = 3 << 30
_BESIDE = 1 << 30  # Python workers, Redis and what the broker and the registry hold outside of their heaps
_PORT_SETTINGS = {
    "broker": ("kafka.port", "kafka.controller_port"),
    "jobmanager": ("flink.rest_port", "flink.rpc_port"),
    "redis": ("redis.port",),
    "registry": ("registry.port", "registry.management_port"),
    "shop-http": ("shop_http.port",),
}


def examine(settings: Settings) -> list[str]:
    """Everything that would keep the stack from working, a sentence with its remedy each; empty: all is well."""
    return [fault for check in _DOCTOR for fault in check(settings)]


def _missing_parts(settings: Settings) -> Iterator[str]:
    for name in jars.SETS:
        if not jars.is_installed(settings, name):
            yield f"jars of {name} are missing or incomplete in {jars.installed(settings, name)}; run `./streamhouse up`, it fetches them"
        elif spoilt := jars.spoilt(settings, name):
            yield f"jar {spoilt[0]} of {name} is not what its lock says; delete {jars.installed(settings, name)} and run `./streamhouse up`"
    if not _runs(str(java_home() / "bin" / "java"), "-version"):
        yield f"java at {java_home()} cannot be run; delete {settings.installed / 'env'} and run any command, it is made again"
    if not _runs(redis_server(), "--version"):
        yield f"{redis_server()} cannot be run; delete {settings.installed / 'env'} and run any command"


def _runs(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=30).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def state_folder(settings: Settings) -> Iterator[str]:
    """Why nothing can be kept in the state folder."""
    if re.search(r"\s", str(settings.state)):
        yield (
            f"state folder {settings.state} has a space in its path, at which the script of Flink's Python workers breaks it;"
            " set STREAMHOUSE_STATE to another one"
        )
        return
    try:
        folder = settings.state
        while not folder.exists():
            folder = folder.parent
        probe = folder / f".streamhouse-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        yield f"state folder {settings.state} cannot be written ({error.strerror}); mend its rights or set STREAMHOUSE_STATE"
        return
    if (free := shutil.disk_usage(folder).free) < _NEEDED_DISK:
        yield f"{settings.state} has {free / 2**30:.1f} GiB of disk left, expected {_NEEDED_DISK >> 30}; free some or set STREAMHOUSE_STATE"


def memory(settings: Settings) -> Iterator[str]:
    """Why the memory is too little for these settings."""
    try:
        asked = sum(megabytes(setting, text) for setting, text in _sizes(settings))
    except SettingsError as error:
        yield str(error)
        return
    needed = max(_NEEDED_MEMORY, (asked << 20) + _BESIDE)
    running = sum(state.memory for state in supervise.states(settings))
    if (free := psutil.virtual_memory().available + running) < needed:
        yield (
            f"{free / 2**30:.1f} GiB of memory are free, expected {needed / 2**30:.1f} for these settings;"
            f" close something or lower {environment_name('flink.taskmanager_memory')}"
        )


def _sizes(settings: Settings) -> Iterator[tuple[str, str]]:
    yield "flink.jobmanager_memory", settings.flink.jobmanager_memory
    yield "flink.taskmanager_memory", settings.flink.taskmanager_memory
    yield "registry.heap", settings.registry.heap
    if settings.kafka.is_embedded:
        yield "kafka.heap", settings.kafka.heap


def _ports_free(settings: Settings) -> Iterator[str]:
    if not settings.stack.runs_elsewhere and not supervise.own_processes(settings):
        yield from ports_taken(settings, services(settings))


def ports_taken(settings: Settings, wanted: list[Service]) -> Iterator[str]:
    """Why these services could not listen, before they are started."""
    seen: dict[int, str] = {}
    for service in wanted:
        for port, name in zip(service.ports, _PORT_SETTINGS.get(service.name, ()), strict=True):
            setting = "kafka.listen_port" if name == "kafka.port" and settings.kafka.listen_port else name
            if not 0 < port < 65_536:
                yield str(SettingsError(setting, "a port from 1 to 65535", port))
            elif port in seen:
                yield str(SettingsError(setting, f"another port than {seen[port]} has", port))
            elif health.is_open(service.host, port):
                yield (
                    f"port {port} of {service.name} is held by {health.holder(port)};"
                    f" end it or choose another port with {environment_name(setting)}"
                )
            seen[port] = setting


def ports_of_others(settings: Settings, wanted: list[Service]) -> Iterator[str]:
    """Ports of these services on which somebody listens, and no process of this stack: it was taken before they could.

    One that starts at this moment may be seen half; who refuses by this looks again.
    """
    ours = health.listens(supervise.own_processes(settings))
    for service in wanted:
        for port in service.ports:
            if port not in ours and health.is_open(service.host, port):
                yield f"port {port} of {service.name} is held by {health.holder(port)}, which is not of this stack"


def _supervisor(settings: Settings) -> Iterator[str]:
    if (left := supervise.own_processes(settings)) and not supervise.states(settings):
        yield f"the supervisor does not answer, and {len(left)} processes run unwatched; run `./streamhouse up`, it starts them anew"


def _services_answer(settings: Settings) -> Iterator[str]:
    if settings.stack.runs_elsewhere:
        for service in services(settings):
            if not health.answers(settings, service.name):
                yield f"service {service.name} does not answer; start it where it runs, or set {environment_name('stack.start')}=all"
        return
    states = {state.name: state for state in supervise.states(settings)}
    for service in services(settings) if states else []:
        state = states.get(service.name)
        if state is None or state.word != "running" or not health.answers(settings, service.name):
            word = state.word if state else "unknown to the supervisor"
            yield f"service {service.name} does not answer (it is {word}); see `./streamhouse logs {service.name}`"


_DOCTOR: tuple[Callable[[Settings], Iterator[str]], ...] = (
    _missing_parts,
    state_folder,
    memory,
    _ports_free,
    _supervisor,
    _services_answer,
)


def megabytes(setting: str, text: str) -> int:
    """`512m`, `2g` -> MiB.

    Raises:
        SettingsError: neither.

    """
    found = re.fullmatch(r"(\d+)([mg])b?", text.strip().lower())
    if not found:
        raise SettingsError(setting, "a size as 512m or 2g", text)
    return int(found[1]) * {"m": 1, "g": 1024}[found[2]]
