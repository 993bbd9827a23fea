"""Processes under supervisord: write its configuration, start it, ask it, end it and all that it started."""

from __future__ import annotations

import contextlib
import http.client
import os
import shlex
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from infra.config import Settings
from infra.errors import StreamhouseError
from infra.stack.services import Service
from infra.stack.sockets import forkserver_socket, private, supervisor_socket

_STOP_SECONDS = 20
_ANSWER_SECONDS = 10.0  # a supervisor that is silent for longer hangs
# a user's settings for other programs, which Java, Flink, Kafka or the registry would obey too
_FOREIGN = (
    *("PYTHON", "VIRTUAL_ENV", "JAVA_", "JDK_", "_JAVA_", "JVM_", "CLASSPATH", "LOG4J", "SUPERVISOR_", "STREAMHOUSE_SUPERVISED"),
    *("FLINK_", "_FLINK_", "HADOOP_", "HBASE_", "YARN_", "ZK_", "KAFKA_", "QUARKUS_", "APICURIO_", "SMALLRYE_"),
)


@dataclass(frozen=True)
class State:
    """One supervised process: supervisord's word for it, its pid (0: none), memory of it and its children in bytes."""

    name: str
    word: str
    pid: int
    memory: int


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """A user's environment without what is meant for other Javas, Pythons, Flinks and brokers."""
    return {name: value for name, value in environment.items() if not name.startswith(_FOREIGN)}


def write_configuration(settings: Settings, services: list[Service]) -> Path:
    """supervisord.conf for these services."""
    listens, state = supervisor_socket(settings), settings.state
    private(listens.parent)
    parts = [
        "[unix_http_server]",
        f"file={_escaped(str(listens))}",
        "chmod=0700",
        "[supervisord]",
        f"logfile={_escaped(str(state / 'logs' / 'supervisord.log'))}",
        "logfile_maxbytes=5MB",
        "logfile_backups=1",
        f"pidfile={_escaped(str(pid_file(settings)))}",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
    ]
    for service in services:
        marked = {**service.environment, "STREAMHOUSE_SUPERVISED": str(state)}
        environment = ",".join(f'{key}="{_escaped(value)}"' for key, value in marked.items())
        parts += [
            f"[program:{service.name}]",
            "command=" + _escaped(shlex.join(service.command)),
            f"environment={environment}",
            f"directory={_escaped(str(state))}",
            "autorestart=true",
            "startretries=1000000",
            "startsecs=2",
            "stopasgroup=true",
            "killasgroup=true",
            f"stopwaitsecs={_STOP_SECONDS}",
            "redirect_stderr=true",
            f"stdout_logfile={_escaped(str(state / 'logs' / service.name))}.log",
            "stdout_logfile_maxbytes=20MB",
            "stdout_logfile_backups=2",
        ]
    file = state / "supervisord.conf"
    file.write_text("\n".join(parts) + "\n", "utf-8")
    return file


def pid_file(settings: Settings) -> Path:
    """Where supervisord writes its process id."""
    return settings.state / "supervisord.pid"


class _Connection(http.client.HTTPConnection):
    """Through the socket, and never waiting forever as the supervisor's own client does."""

    def __init__(self, file: Path) -> None:
        super().__init__("localhost", timeout=_ANSWER_SECONDS)
        self._file = str(file)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_ANSWER_SECONDS)
        self.sock.connect(self._file)


class _Transport(xmlrpc.client.Transport):
    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file

    def make_connection(self, host: object) -> http.client.HTTPConnection:
        connection = _Connection(self._file)
        self._connection = host, connection  # type: ignore[assignment]  # where `close` looks for it
        return connection


def server(settings: Settings) -> xmlrpc.client.ServerProxy:
    """Supervisord's interface; it connects at the first call."""
    return xmlrpc.client.ServerProxy("http://127.0.0.1", transport=_Transport(supervisor_socket(settings)))


def states(settings: Settings) -> list[State]:
    """Every supervised process; empty when no supervisor runs."""
    if not supervisor_socket(settings).exists():
        return []
    try:
        with server(settings) as remote:
            processes = remote.supervisor.getAllProcessInfo()
    except (OSError, xmlrpc.client.Error):
        return []
    assert isinstance(processes, list)
    return [State(str(p["name"]), str(p["statename"]).lower(), int(p["pid"]), memory_of(int(p["pid"]))) for p in processes]


def memory_of(pid: int) -> int:
    """Resident bytes of a process and its descendants; 0 when it is gone."""
    if pid == 0:
        return 0
    try:
        process = psutil.Process(pid)
        return sum(_resident(p) for p in [process, *process.children(recursive=True)])
    except psutil.NoSuchProcess:
        return 0


def start(settings: Settings, services: list[Service]) -> None:
    """Start supervisord; it starts the rest and restarts what dies."""
    configuration = write_configuration(settings, services)
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)]
    # overrides travel by the environment alone: one may be a secret, and the configuration is a file
    environment = {**inherited(os.environ), **settings.environment}
    done = subprocess.run(command, capture_output=True, text=True, cwd=settings.state, env=environment, check=False, timeout=60)
    if done.returncode:
        message = f"the supervisor did not start: {(done.stderr or done.stdout).strip()[-300:]}; see {settings.state / 'logs'}"
        raise StreamhouseError(message)


def change(settings: Settings, services: list[Service]) -> None:
    """Let the running supervisor run these services: new ones are started, those that are not among them are ended.

    Raises:
        StreamhouseError: no supervisor answers.

    """
    write_configuration(settings, services)
    try:
        with server(settings) as remote:
            answer: Any = remote.supervisor.reloadConfig()
            [[added, _, removed]] = answer
            for name in removed:
                remote.supervisor.stopProcessGroup(name, False)  # else the call lasts as long as the process takes to end
            until = time.monotonic() + _STOP_SECONDS + 10
            while any(state.name in removed and state.pid for state in states(settings)):
                if time.monotonic() > until:
                    message = f"{', '.join(removed)} did not end within {_STOP_SECONDS + 10} s; run the command again"
                    raise StreamhouseError(message)
                time.sleep(0.1)
            for name in removed:
                remote.supervisor.removeProcessGroup(name)
            for name in added:
                remote.supervisor.addProcessGroup(name)
            wanted = {service.name for service in services}
            for state in states(settings):
                if state.name in wanted and state.word == "stopped":  # a change that was broken off left it so
                    remote.supervisor.startProcessGroup(state.name, False)
    except (OSError, xmlrpc.client.Error) as error:
        message = f"the supervisor: expected to run {', '.join(service.name for service in services)}, got {error}; run `./streamhouse up`"
        raise StreamhouseError(message) from error


def stop(settings: Settings) -> list[int]:
    """End the services, then the supervisor, then whatever of theirs is left; answers the pids of what was left."""
    supervised = [process for state in states(settings) if (process := _process(state.pid))]
    if supervised:
        supervisors = [process for process in own_processes(settings) if _is_supervisor(settings, process)]
        # it may be on its way out already
        with contextlib.suppress(OSError, xmlrpc.client.Error), server(settings) as remote:
            remote.supervisor.shutdown()
        until = time.monotonic() + _STOP_SECONDS + 10
        while psutil.wait_procs(supervisors, timeout=0.1)[1] and time.monotonic() < until:
            states(settings)  # it ends one service after the other, and looks for the next once a second, or when it is asked something
    left: list[int] = []
    # a supervisor first, or it starts again what is ended; a killed parent may leave a child that was just being born
    for only_supervisor, seconds in ((True, 10), (False, 10), (False, 0), (False, 0)):
        found = [*own_processes(settings), *(process for process in supervised if process.is_running())]
        found = [process for process in found if not only_supervisor or _is_supervisor(settings, process)]
        end(found, seconds)
        left += [process.pid for process in found]
    for file in (supervisor_socket(settings), forkserver_socket(settings), pid_file(settings)):
        file.unlink(missing_ok=True)
    if supervisor_socket(settings).parent not in (settings.state, *settings.state.parents):
        with contextlib.suppress(OSError):
            supervisor_socket(settings).parent.rmdir()
    return sorted(set(left))


def end(processes: list[psutil.Process], seconds: float) -> None:
    """Ask processes to end, and kill those that still run after so many seconds; 0 kills at once."""
    for patient in (True, False) if seconds else (False,):
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate() if patient else process.kill()
        _, processes = psutil.wait_procs(processes, timeout=seconds if patient else 5)


def orphans(settings: Settings) -> list[psutil.Process]:
    """Processes of this state folder that no supervisor looks after: Python workers whose TaskManager was killed."""
    found = []
    for process in own_processes(settings):
        with contextlib.suppress(psutil.NoSuchProcess):
            if not any(_is_supervisor(settings, parent) for parent in [process, *process.parents()]):
                found.append(process)
    return found


def own_processes(settings: Settings) -> list[psutil.Process]:
    """Processes of this state folder: its supervisor, and all that bear the mark it gives. Never the caller or its parents."""
    mine = {process.pid for process in [psutil.Process(), *psutil.Process().parents()]}
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.pid not in mine and any(is_it(settings, process) for is_it in (_is_supervisor, _is_redis, _is_marked)):
                found.append(process)
    return found


def _is_marked(settings: Settings, process: psutil.Process) -> bool:
    return process.environ().get("STREAMHOUSE_SUPERVISED") == str(settings.state)


def _is_redis(settings: Settings, process: psutil.Process) -> bool:
    # Redis writes its title over its environment, and the mark with it
    return process.cwd() == str(settings.state / "redis") and any("redis-server" in part for part in process.cmdline()[:1])


def _is_supervisor(settings: Settings, process: psutil.Process) -> bool:
    try:
        return process.cmdline()[1:] == ["-m", "supervisor.supervisord", "-c", str(settings.state / "supervisord.conf")]
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid) if pid else None
    except psutil.NoSuchProcess:
        return None


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def _escaped(text: str) -> str:
    return text.replace("%", "%%")
