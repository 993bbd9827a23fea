"""The stack itself: what is killed comes back, `status` and `doctor` say what is not well, and `down` leaves nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import psutil
import pytest

from infra.config import Settings
from infra.errors import StreamhouseError
from infra.stack import doctor, flink_client, flink_rest, health, stack, supervise
from infra.stack.report import Report, status
from infra.stack.services import services
from infra.stack.sockets import supervisor_socket
from infra.stack.stack import down, up
from tests.end_to_end import facts
from tests.end_to_end.stacks import empty_place, stack_settings

NAMES = ("broker", "jobmanager", "taskmanager", "standby", "redis", "registry", "forkserver", "keeper", "meter")
LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
wait_for = partial(facts.wait_for, seconds=240)  # a service that hangs or comes back takes its time
PASSWORD = "canary-d41d8cd98f00"


@pytest.fixture(scope="module")
def lone() -> Iterator[Settings]:
    """A stack of this file's own. The embedded broker asks for no password; it stands wherever a real one would."""
    settings = stack_settings("stack", KAFKA_PASSWORD=PASSWORD, KAFKA_USERNAME="someone", KAFKA_SASL_MECHANISM="PLAIN")
    with empty_place(settings):
        yield settings


@pytest.fixture
def running(lone: Settings) -> Settings:
    """It is up."""
    up(lone, print)
    return lone


def start(settings: Settings, *arguments: str) -> subprocess.Popen[str]:
    """The command line as a person starts it, without what this test run set for itself."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("STREAMHOUSE_")}
    environment = {**others, **settings.environment}
    command = [str(settings.root / "streamhouse"), *arguments]
    return subprocess.Popen(
        command,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # a test run in the background ignores the interrupt, and would hand that down
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def run(settings: Settings, *arguments: str) -> tuple[int, str]:
    """Exit status and all that was said."""
    process = start(settings, *arguments)
    said, _ = process.communicate(timeout=240)
    return process.returncode, said


def supervisor(settings: Settings) -> int:
    return int(supervise.pid_file(settings).read_text("utf-8"))


def pids(report: Report) -> dict[str, int]:
    return {line.name: line.pid for line in report.services}


def words(report: Report) -> dict[str, str]:
    return {line.name: line.state for line in report.services}


def still_bound(settings: Settings) -> list[psutil.Process]:
    """Processes that have anything to do with the state folder, found without the marks that the product looks for."""
    state, mine = str(settings.state), {process.pid for process in [psutil.Process(), *psutil.Process().parents()]}
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            places = [process.cwd(), *process.cmdline(), *process.environ().values()]
            if process.pid not in mine and any(place == state or f"{state}/" in place for place in places):
                found.append(process)
    return found


def assert_nothing_left(settings: Settings) -> None:
    assert supervise.own_processes(settings) == []
    assert still_bound(settings) == []
    assert [port for service in services(settings) for port in service.ports if health.is_open(service.host, port)] == []
    assert not supervisor_socket(settings).exists()
    assert status(settings).troubles == ["the stack is down; run `./streamhouse up`"]


def test_flinks_client_maps_its_classes_out_of_the_archive(running: Settings) -> None:
    """Java takes none that differs from its jars by a byte, and says nothing."""
    strict = [word if word != "-Xshare:auto" else "-Xshare:on" for word in flink_client.command(running)]
    environment = {**supervise.inherited(os.environ), **flink_client.environment(running)}
    said = subprocess.run([*strict, "--version"], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert said.returncode == 0, said.stdout + said.stderr
    assert said.stdout.startswith("Version: ")


def test_services_that_are_killed_all_at_once_come_back(running: Settings) -> None:
    """One alone, with jobs that must go on: tests/faults."""
    before = pids(status(running))
    for name in NAMES:
        os.kill(before[name], signal.SIGKILL)
    told: dict[str, Any] = {}

    def is_back() -> bool:
        # Flink counts a killed TaskManager's slots until its heartbeat is missed, so the first look may be too good
        nonlocal told
        code, said = run(running, "status", "--json")
        told = json.loads(said)
        return code == 0 and all(line["pid"] != before[line["name"]] for line in told["services"])

    wait_for(is_back)
    assert (told["well"], told["troubles"]) == (True, [])
    assert {line["name"]: line["state"] for line in told["services"]} == dict.fromkeys(NAMES, "up")
    assert supervise.orphans(running) == []


def test_up_does_nothing_the_second_time(running: Settings) -> None:
    before = supervisor(running), pids(status(running))
    code, said = run(running, "up")
    assert code == 0, said
    assert (supervisor(running), pids(status(running))) == before


def test_everything_listens_on_loopback_only(running: Settings) -> None:
    listening = {
        (connection.laddr.ip, connection.laddr.port)
        for process in supervise.own_processes(running)
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert {address for address, _ in listening} <= LOOPBACK
    assert {port for service in services(running) for port in service.ports} <= {port for _, port in listening}


@pytest.mark.parametrize("name", NAMES)
def test_a_service_that_hangs_is_named(running: Settings, name: str) -> None:
    pid = pids(status(running))[name]
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_for(lambda: words(status(running))[name] == "silent")
        assert f"service {name} is silent; see `./streamhouse logs {name}`" in status(running).troubles
        assert any(f"service {name} does not answer (it is running); see `./streamhouse logs {name}`" in f for f in doctor.examine(running))
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_for(lambda: status(running).is_well)
    assert pids(status(running))[name] == pid


def test_a_supervisor_that_hangs_is_named(running: Settings) -> None:
    pid = supervisor(running)
    os.kill(pid, signal.SIGSTOP)
    try:
        code, said = run(running, "doctor")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert code == 1
    assert "fault: the supervisor does not answer" in said
    wait_for(lambda: status(running).is_well)


def test_up_recovers_from_a_killed_supervisor_without_orphans(running: Settings) -> None:
    old = {process.pid for process in supervise.own_processes(running)}
    os.kill(supervisor(running), signal.SIGKILL)
    wait_for(lambda: supervise.states(running) == [])
    code, said = run(running, "doctor")
    assert code == 1
    assert "processes run unwatched; run `./streamhouse up`" in said
    code, said = run(running, "up")
    assert code == 0, said
    assert old.isdisjoint(process.pid for process in supervise.own_processes(running))
    assert status(running).is_well
    assert supervise.orphans(running) == []


def test_down_leaves_nothing_after_services_and_supervisor_were_killed(running: Settings) -> None:
    now = pids(status(running))
    for pid in (now["broker"], now["taskmanager"], supervisor(running)):
        os.kill(pid, signal.SIGKILL)
    for _ in range(2):  # the second time there is nothing to do
        code, said = run(running, "down")
        assert (code, said.splitlines()[-1]) == (0, "down"), said
        assert_nothing_left(running)
    assert run(running, "status")[0] == 1


def test_down_ends_an_up_that_is_under_way(lone: Settings) -> None:
    down(lone, print, savepoints=False)
    starting = start(lone, "up")
    wait_for(lambda: bool(supervise.states(lone)))
    assert run(lone, "down")[0] == 0
    said, _ = starting.communicate(timeout=60)
    assert starting.returncode == 1
    assert "error: the stack was stopped before" in said
    assert_nothing_left(lone)


def test_down_after_an_interrupted_up_leaves_nothing(lone: Settings) -> None:
    down(lone, print, savepoints=False)
    starting = start(lone, "up")
    wait_for(lambda: bool(supervise.states(lone)))
    starting.send_signal(signal.SIGINT)
    said, _ = starting.communicate(timeout=60)
    assert starting.returncode == 130, said
    assert run(lone, "down")[0] == 0
    assert_nothing_left(lone)


class Pong(socketserver.BaseRequestHandler):
    """Another's Redis, as far as a look at it goes."""

    def handle(self) -> None:
        while self.request.recv(64):
            self.request.sendall(b"+PONG\r\n")


def test_up_takes_no_other_for_its_own(lone: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two clones that start at once find the same ports free; whoever listens second must not work with what the first one has."""
    down(lone, print, savepoints=False)
    monkeypatch.setattr(stack, "ports_taken", lambda *_: iter(()))
    with socketserver.ThreadingTCPServer(("127.0.0.1", lone.redis.port), Pong) as other:
        other.daemon_threads = True
        threading.Thread(target=other.serve_forever, daemon=True).start()
        with pytest.raises(StreamhouseError, match=rf"port {lone.redis.port} of redis is held by process {os.getpid()}"):
            up(lone, print)
        other.shutdown()
    down(lone, print)
    assert_nothing_left(lone)


def test_a_job_that_its_killed_jobmanager_lost_is_started_again_and_no_file_holds_the_password(running: Settings) -> None:
    for command in (("apply",), ("submit", "score_events")):
        code, said = run(running, *command)
        assert code == 0, said
    wait_for(lambda: any(job.checkpoints for job in status(running).jobs))
    assert status(running).troubles == []
    held = [process.pid for process in psutil.process_iter() for part in cmdline(process) if PASSWORD in part]
    assert held == []

    (lost,) = status(running).jobs
    os.kill(pids(status(running))["jobmanager"], signal.SIGKILL)
    missed = "job score_events does not run; the keeper starts it again, see `./streamhouse logs keeper`"
    wait_for(lambda: missed in status(running).troubles)
    wait_for(lambda: status(running).is_well and any(job.checkpoints for job in status(running).jobs))
    (again,) = status(running).jobs
    assert again.name == lost.name
    assert again.id != lost.id
    code, said = run(running, "down")
    assert code == 0, said
    assert flink_rest.expected(running) == {}
    assert_nothing_left(running)
    written = [file for file in running.state.rglob("*") if file.is_file() and not file.is_symlink()]
    assert len(written) > 20
    assert [file for file in written if PASSWORD.encode() in file.read_bytes()] == []


def cmdline(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return process.cmdline()
    return []
