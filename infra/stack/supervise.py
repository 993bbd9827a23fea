"""Processes under supervisord: write its configuration, start it, ask it, end it and all that it started."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
import tempfile
import xmlrpc.client
from dataclasses import dataclass
from pathlib import Path

import psutil
from supervisor.xmlrpc import SupervisorTransport

from infra.config import Settings
from infra.errors import StreamhouseError
from infra.stack.services import Service

_STOP_SECONDS = 20


@dataclass(frozen=True)
class State:
    """One supervised process: supervisord's word for it, its pid (0: none), memory of it and its children in bytes."""

    name: str
    word: str
    pid: int
    memory: int


def socket_file(settings: Settings) -> Path:
    """Supervisord's socket: a short path, since sockets take at most 107 characters and clones may lie deep."""
    key = hashlib.sha256(str(settings.state).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"streamhouse-{key}" / "supervisor.sock"


def write_configuration(settings: Settings, services: list[Service]) -> Path:
    """supervisord.conf for these services."""
    socket, state = socket_file(settings), settings.state
    socket.parent.mkdir(mode=0o700, exist_ok=True)
    parts = [
        "[unix_http_server]",
        f"file={socket}",
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
            "command=" + " ".join(f"'{_escaped(part)}'" for part in service.command),
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


def server(settings: Settings) -> xmlrpc.client.ServerProxy:
    """Supervisord's interface; it connects at the first call."""
    transport = SupervisorTransport(None, None, f"unix://{socket_file(settings)}")
    return xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)


def states(settings: Settings) -> list[State]:
    """Every supervised process; empty when no supervisor runs."""
    if not socket_file(settings).exists():
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
    done = subprocess.run(command, capture_output=True, text=True, cwd=settings.state, check=False, timeout=60)
    if done.returncode:
        message = f"the supervisor did not start: {(done.stderr or done.stdout).strip()[-300:]}; see {settings.state / 'logs'}"
        raise StreamhouseError(message)


def stop(settings: Settings) -> list[int]:
    """End the services, then the supervisor, then whatever of theirs is left; answers the pids that had to be killed."""
    supervised = [process for state in states(settings) if (process := _process(state.pid))]
    supervisor = _process(int(pid_file(settings).read_text("utf-8") or 0)) if pid_file(settings).is_file() else None
    if supervised:
        # it may be on its way out already
        with contextlib.suppress(OSError, xmlrpc.client.Error), server(settings) as remote:
            remote.supervisor.shutdown()
        if supervisor is not None:
            psutil.wait_procs([supervisor], timeout=_STOP_SECONDS + 10)
    killed = []
    for _ in range(3):  # a killed parent may leave a child that was just being born
        left = [*own_processes(settings), *(process for process in supervised if process.is_running())]
        for process in left:
            try:
                process.kill()
                killed.append(process.pid)
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(left, timeout=5)
    socket_file(settings).unlink(missing_ok=True)
    pid_file(settings).unlink(missing_ok=True)
    return killed


def own_processes(settings: Settings) -> list[psutil.Process]:
    """Processes that belong to this state folder: its supervisor's, told by their environment or their folder. Never the caller."""
    marker, mine = str(settings.state), {p.pid for p in [psutil.Process(), *psutil.Process().parents()]}
    found = []
    for process in psutil.process_iter():
        if process.pid in mine:
            continue
        try:
            environment = process.environ()
            if (
                (environment.get("SUPERVISOR_ENABLED") and process.cwd().startswith(marker))
                or environment.get("STREAMHOUSE_SUPERVISED") == marker
                or ("supervisor.supervisord" in process.cmdline() and str(settings.state / "supervisord.conf") in process.cmdline())
            ):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


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
