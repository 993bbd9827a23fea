"""Stands in for a Python worker that the forkserver forks: as long as this process lives, so does the worker, and no longer.

    python -I -S fork_client.py -m pyflink.fn_execution.beam.beam_boot --id=1-1 ...
    python -I -S fork_client.py -m jobs.flink.score_worker ...
    python -I -S fork_client.py -u jobs/score_events.py ...         the program of a job, likewise, for Flink's client

It is started before each worker, so it imports little, and nothing of the project. Where no forkserver answers, as in a container of
its own, it becomes the worker itself.

A connection carries, in this order: the request (length in four bytes, JSON) with the descriptors of standard output and error, "?"
from the server when it is ready to fork, "!" from the client that is still there, the worker's exit status in four bytes. Whichever
end goes away first, the worker is ended.
"""

from __future__ import annotations

import array
import json
import os
import select
import socket
import struct
import sys
from collections.abc import Mapping, Sequence

VARIABLE = "FORKSERVER_SOCKET"
"""The environment variable that names the server's socket."""
JOB_PROGRAM = "job-program"
"""How the system names a forked process that is a job's program and no worker."""
READY, GO = b"?", b"!"
LENGTH = struct.Struct("!I")
STATUS = struct.Struct("!i")
_READY_SECONDS = 5.0
_SHELLS = ("sh", "bash", "dash", "busybox")


def main() -> None:
    """Ask for the worker and wait for its end, or for the end of the TaskManager, or of Flink's client, that wants it."""
    arguments = sys.argv[1:]
    folder = os.getcwd()  # noqa: PTH109 - pathlib would be most of what is imported here
    connection = ask(os.environ.get(VARIABLE, ""), {"arguments": arguments, "environment": dict(os.environ), "folder": folder})
    if connection is None:
        os.execvp("python", ["python", *arguments])
    connection.sendall(GO)
    java = _starter()
    watched = [connection.fileno(), *([java] if java is not None else [])]
    ready, _, _ = select.select(watched, [], [])
    if connection.fileno() not in ready:
        sys.exit(1)  # that Java is gone; the server sees the connection end
    status = connection.recv(STATUS.size)
    sys.exit(STATUS.unpack(status)[0] if len(status) == STATUS.size else 1)


def ask(address: str, request: Mapping[str, object], outputs: Sequence[int] = (1, 2)) -> socket.socket | None:
    """A connection to a server that is ready to fork; None: nobody answers there."""
    if not address:
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(_READY_SECONDS)
    body = json.dumps(request).encode()
    try:
        connection.connect(address)
        connection.sendmsg([LENGTH.pack(len(body))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", outputs))])
        connection.sendall(body)
        if connection.recv(1) == READY:
            connection.settimeout(None)
            return connection
    except OSError:
        pass
    connection.close()
    return None


def _starter() -> int | None:
    """A descriptor that becomes readable when the process ends that wants this one: the nearest above that is no shell.

    PyFlink starts a script, and that starts this; our own function, and Flink's client, start it by themselves. A TaskManager that is
    killed ends neither its script nor this, and its worker would go on writing.
    """
    try:
        pid = os.getppid()
        while os.path.basename(os.readlink(f"/proc/{pid}/exe")) in _SHELLS:  # noqa: PTH115, PTH119 - as above
            with open(f"/proc/{pid}/stat", encoding="utf-8") as file:  # noqa: PTH123 - as above
                pid = int(file.read().rpartition(")")[2].split()[1])
        return os.pidfd_open(pid) if pid > 1 else None
    except (OSError, AttributeError):  # not Linux; or it is gone already, and the worker finds nobody to talk to
        return None


if __name__ == "__main__":
    main()
