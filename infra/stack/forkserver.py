"""The forkserver: a Python that has imported what Flink's workers and the programs of jobs need, and forks one when it is asked to.

A worker takes 1.2 s of a core to import Beam, PyFlink and pandas, several at once when a TaskManager died and every core is busy; a job's
program as much while a person waits. Only packages are imported here, nothing of the project: its code is read anew by each of them, so a
changed job needs no restart of the stack.

    python -m infra.stack.forkserver

Workers end with this process, and with whoever asked for them (infra/stack/fork_client.py).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import io
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from infra.config import load_settings
from infra.stack.fork_client import GO, JOB_PROGRAM, LENGTH, READY, STATUS
from infra.stack.sockets import forkserver_socket

# without onnxruntime, which starts a thread when it is imported: a fork would lose it
_IMPORTED = (
    "pyflink.fn_execution.beam.beam_sdk_worker_main",
    "redis",
    "hiredis",
    "onnx",
    "msgspec",
    "orjson",
    "jsonschema",
    "yaml",
    "tenacity",
    # a job's program
    "pyflink.table",
    "confluent_kafka.admin",
    "httpx",
    "filelock",
)
_SECONDS = 2.0  # a client that is slower has died
_MOST_BYTES = 1 << 20
_DIE_WITH_PARENT, _NAME = 1, 15  # PR_SET_PDEATHSIG, PR_SET_NAME


@dataclass
class _Worker:
    pid: int
    connection: socket.socket


def main() -> None:
    """Serve until the supervisor ends this."""
    for name in _IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # or the first collection of each worker would copy all its pages
    file = forkserver_socket(load_settings())
    file.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(file))
        file.chmod(0o600)
        listener.listen(64)
        print(f"forks workers for whom asks at {file}", flush=True)
        _serve(listener)


def _serve(listener: socket.socket) -> None:
    workers: dict[int, _Worker] = {}  # by the descriptor of their connections
    woken, wakes = socket.socketpair()
    woken.setblocking(False)
    wakes.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        inherited: list[socket.socket | selectors.BaseSelector] = [listener, woken, wakes, selector]
        while True:
            for key, _ in selector.select():
                if key.fileobj is listener:
                    connection, _ = listener.accept()
                    worker = _worker(connection, [*inherited, *(other.connection for other in workers.values())])
                    if worker is not None:
                        workers[connection.fileno()] = worker
                        selector.register(connection, selectors.EVENT_READ)
                elif key.fileobj is woken:
                    woken.recv(4096)
                    _reap(workers, selector)
                elif key.fd in workers:  # who asked for it has gone
                    os.kill(workers[key.fd].pid, signal.SIGKILL)
                    selector.unregister(workers[key.fd].connection)


def _reap(workers: dict[int, _Worker], selector: selectors.BaseSelector) -> None:
    for descriptor, worker in list(workers.items()):
        pid, status = os.waitpid(worker.pid, os.WNOHANG)
        if pid == 0:
            continue
        if descriptor in selector.get_map():
            selector.unregister(worker.connection)
        with contextlib.suppress(OSError):  # nobody waits for it
            worker.connection.sendall(STATUS.pack(os.waitstatus_to_exitcode(status)))
        worker.connection.close()
        del workers[descriptor]


def _worker(connection: socket.socket, inherited: Sequence[socket.socket | selectors.BaseSelector]) -> _Worker | None:
    """Fork the worker that a new connection asks for; None: it asks for none, or has gone."""
    connection.settimeout(_SECONDS)
    outputs: list[int] = []
    try:
        head, outputs, _, _ = socket.recv_fds(connection, LENGTH.size, 2)
        head += _exactly(connection, LENGTH.size - len(head))
        request = json.loads(_exactly(connection, LENGTH.unpack(head)[0]))
        connection.sendall(READY)
        if connection.recv(1) != GO:
            connection.close()
            return None
        connection.settimeout(None)
        sys.stdout.flush()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _become(lambda: _run(request, outputs, parent), [*inherited, connection])
        return _Worker(pid, connection)
    except (OSError, ValueError) as error:
        print(f"no worker was forked: {error!r}", flush=True)
        connection.close()
        return None
    finally:
        for descriptor in outputs:
            os.close(descriptor)


def _exactly(connection: socket.socket, count: int) -> bytes:
    if count > _MOST_BYTES:
        message = f"a request of {count} bytes, expected at most {_MOST_BYTES}"
        raise ValueError(message)
    got = b""
    while len(got) < count:
        part = connection.recv(count - len(got))
        if not part:
            message = f"a request that ends after {len(got)} bytes of {count}"
            raise ValueError(message)
        got += part
    return got


def _become(run: Callable[[], None], inherited: Sequence[socket.socket | selectors.BaseSelector]) -> NoReturn:
    """In the forked process: leave nothing of the server's behind, run, and end without what would be the server's to clean up."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for one in inherited:
            one.close()
        run()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # as an interpreter would end
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _run(request: dict[str, Any], outputs: list[int], server: int) -> None:
    """What `python -m MODULE ...` or `python -u FILE ...` does in the environment, folder and with the outputs of the client."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != server:
            return
    for descriptor, wanted in zip(outputs, (1, 2), strict=True):
        os.dup2(descriptor, wanted)
        os.close(descriptor)
    for name in [name for name in sys.modules if name.partition(".")[0] == "infra"]:
        del sys.modules[name]  # as they were when the stack came up: what runs here reads them as they are now
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[:0] = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part and part not in sys.path]
    flag, program, *arguments = request["arguments"]
    sys.argv = [program, *arguments]
    if flag == "-m":
        runpy.run_module(program, run_name="__main__", alter_sys=True)
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_NAME, JOB_PROGRAM.encode())
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):
            output.reconfigure(write_through=True)
    sys.path.insert(0, os.path.dirname(program))  # noqa: PTH120 - as the interpreter has it, also where it is empty
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
