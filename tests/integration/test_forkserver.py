"""The forkserver as Flink meets it: through the program that stands in for a worker."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from infra.config import Settings, load_settings
from infra.stack import flink_client, fork_client, health
from infra.stack.sockets import forkserver_socket

CLIENT = [sys.executable, "-I", "-S", fork_client.__file__]
WORKER = """
import json, os, sys, time
from contextlib import suppress

def opened():
    found = []
    for number in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd") else []:
        with suppress(FileNotFoundError):  # the folder's own, which is closed again
            found.append(os.readlink("/proc/self/fd/" + number))
    return found

json.dump({"arguments": sys.argv[1:], "folder": os.getcwd(), "told": os.environ["TOLD"], "pid": os.getpid(),
           "imported": "pyflink.fn_execution.beam.beam_operations" in sys.modules,
           "opened": opened()}, sys.stdout)
sys.stdout.flush()
print("and to error", file=sys.stderr, flush=True)
if sys.argv[1] == "wait":
    time.sleep(60)
sys.exit(int(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A running forkserver of its own."""
    settings = load_settings({"STREAMHOUSE_STATE": str(tmp_path_factory.mktemp("forkserver"))})
    server = _serve(settings)
    yield settings
    server.kill()
    server.wait(120)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the worker's module lies."""
    (tmp_path / "little_worker.py").write_text(WORKER, "utf-8")
    return tmp_path


def _serve(settings: Settings) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **settings.environment}
    server = subprocess.Popen([sys.executable, "-m", "infra.stack.forkserver"], env=environment, stdout=subprocess.DEVNULL)
    _until(lambda: health.answers(settings, "forkserver"), 180)
    return server


def _start(settings: Settings, folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(folder), "TOLD": "something", fork_client.VARIABLE: str(forkserver_socket(settings))}
    command = [*CLIENT, "-m", "little_worker", *arguments]
    return subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def _said(client: subprocess.Popen[bytes]) -> dict[str, object]:
    """What the worker said first of all."""
    assert client.stdout is not None
    said = b""
    while not said.endswith(b"}"):
        part = os.read(client.stdout.fileno(), 4096)
        assert part, "the worker ended and said nothing"
        said += part
    return dict(json.loads(said))


def _until(what: Callable[[], bool], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _ended(said: dict[str, object]) -> None:
    pid = said["pid"]
    assert isinstance(pid, int)
    _until(lambda: not psutil.pid_exists(pid))


def _finish(client: subprocess.Popen[bytes]) -> int:
    client.communicate(timeout=120)
    return client.returncode


def test_a_worker_has_the_environment_folder_arguments_and_outputs_of_its_client(settings: Settings, folder: Path) -> None:
    client = _start(settings, folder, "end", "7", "three")
    out, error = client.communicate(timeout=120)
    said = json.loads(out)
    assert said == said | {"arguments": ["end", "7", "three"], "folder": str(folder), "told": "something", "imported": True}
    assert error == b"and to error\n"
    assert client.returncode == 7
    assert said["pid"] != client.pid
    assert not [name for name in said["opened"] if name.startswith("socket:") or "eventpoll" in name]  # the server's


def test_a_worker_ends_with_its_client(settings: Settings, folder: Path) -> None:
    client = _start(settings, folder, "wait", "0")
    said = _said(client)
    client.kill()
    _ended(said)
    _finish(client)


def test_a_client_ends_with_its_worker(settings: Settings, folder: Path) -> None:
    client = _start(settings, folder, "wait", "0")
    os.kill(int(str(_said(client)["pid"])), signal.SIGKILL)
    assert _finish(client) != 0


@pytest.mark.parametrize("through", [["bash", "-c", '"$0" "$@" | cat'], []], ids=["a script with a pipe, as PyFlink", "directly"])
def test_a_worker_ends_with_the_taskmanager(settings: Settings, folder: Path, through: list[str]) -> None:
    script = [*through, *CLIENT, "-m", "little_worker", "wait", "0"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "TOLD": "x", fork_client.VARIABLE: str(forkserver_socket(settings))}
    command = [sys.executable, "-c", f"import subprocess; subprocess.run({script!r})"]
    taskmanager = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    said = _said(taskmanager)
    taskmanager.kill()
    _ended(said)
    _finish(taskmanager)


def test_the_program_of_a_job_is_a_file_that_is_run_as_by_the_interpreter(settings: Settings, folder: Path) -> None:
    (folder / "a_job.py").write_text("import little_worker\n", "utf-8")
    environment = {**os.environ, "TOLD": "something", fork_client.VARIABLE: str(forkserver_socket(settings))}
    command = [str(flink_client.PYTHON), "-u", str(folder / "a_job.py"), "end", "5"]
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    client = subprocess.Popen(command, env=environment, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, error = client.communicate(timeout=120)
    said = json.loads(out)
    assert said == said | {"arguments": ["end", "5"], "folder": "/", "told": "something", "imported": True}
    assert error == b"and to error\n"
    assert client.returncode == 5
    assert said["pid"] != client.pid


def test_the_program_of_a_job_ends_with_flinks_client(settings: Settings, folder: Path) -> None:
    (folder / "a_job.py").write_text("import little_worker\n", "utf-8")
    environment = {**os.environ, "TOLD": "x", fork_client.VARIABLE: str(forkserver_socket(settings))}
    program = [*CLIENT, "-u", str(folder / "a_job.py"), "wait", "0"]
    command = [sys.executable, "-c", f"import subprocess; subprocess.run({program!r})"]
    java = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    said = _said(java)
    java.kill()
    _ended(said)
    _finish(java)


def test_a_worker_ends_with_the_server_and_the_next_does_without(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> None:
    settings = load_settings({"STREAMHOUSE_STATE": str(tmp_path_factory.mktemp("fs"))})  # a short one, that holds the socket itself
    server = _serve(settings)
    client = _start(settings, folder, "wait", "0")
    said = _said(client)
    server.kill()
    server.wait(120)
    _ended(said)
    assert _finish(client) != 0

    alone = _start(settings, folder, "end", "0")
    said = _said(alone)
    assert (said["pid"], said["imported"]) == (alone.pid, False)
    assert _finish(alone) == 0


@pytest.mark.parametrize(
    "sent",
    [b"", b"\0", fork_client.LENGTH.pack(1 << 30), fork_client.LENGTH.pack(2) + b"{", fork_client.LENGTH.pack(3) + b"not"],
    ids=["nothing", "no-length", "too-long", "cut", "no-json"],
)
def test_what_is_no_request_hinders_nobody(settings: Settings, folder: Path, sent: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(forkserver_socket(settings)))
        connection.sendall(sent)
    assert _finish(_start(settings, folder, "end", "0")) == 0


def test_who_goes_away_before_the_fork_gets_no_worker(settings: Settings, folder: Path) -> None:
    left = folder / "left"
    (folder / "leaves_a_file.py").write_text(f"open({str(left)!r}, 'w').close()", "utf-8")
    request = {"arguments": ["-m", "leaves_a_file"], "environment": {"PYTHONPATH": str(folder)}, "folder": str(folder)}
    connection = fork_client.ask(str(forkserver_socket(settings)), request)
    assert connection is not None
    connection.close()
    assert _finish(_start(settings, folder, "end", "0")) == 0  # the server has turned to the next
    assert not left.exists()
