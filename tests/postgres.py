"""A PostgreSQL server on loopback, from the binaries that a package carries; it can be killed and started again."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.ports import free_ports

_SECONDS = 180
_NOBODY = 65534  # PostgreSQL refuses to run as root


@dataclass
class Postgres:
    """A server of its own, trusting everyone on loopback. Its data lies in `folder`."""

    folder: Path
    binaries: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where its database is."""
        return self.database("postgres")

    def database(self, name: str) -> str:
        """Where a database of this name is."""
        return f"postgresql://postgres:secret@127.0.0.1:{self.port}/{name}"

    def create_database(self, name: str) -> str:
        """Make an empty database, and say where it is."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.database(name)

    def start(self) -> None:
        """Start it and wait until it answers."""
        arguments = ["-D", str(self.folder / "data"), "-p", str(self.port), "-h", "127.0.0.1", "-k", ""]
        with (self.folder / "postgres.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.binaries / "postgres"), *arguments], stdout=log, stderr=log, **_as_nobody(self.folder)
            )
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=2).close()
            except psycopg.OperationalError:
                assert self.process.poll() is None, (self.folder / "postgres.log").read_text("utf-8")[-2000:]
                assert time.monotonic() < deadline, "PostgreSQL did not come up in time"
                time.sleep(0.05)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: by SIGINT in order, by SIGQUIT as a crash does."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(_SECONDS)
            self.process = None


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A new server; nothing of it is left behind the block."""
    spec = importlib.util.find_spec("pgserver")
    assert spec is not None
    assert spec.origin is not None
    packages = Path(spec.origin).parent.parent
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        (folder / "data").mkdir(mode=0o700)
        if os.geteuid() == 0:
            for part in ("pgserver", "pgserver.libs"):  # the environment may lie where nobody else can read
                if (packages / part).is_dir():
                    shutil.copytree(packages / part, folder / part, symlinks=True)
            packages = folder
            folder.chmod(0o755)
            os.chown(folder / "data", _NOBODY, _NOBODY)
        server = Postgres(folder, packages / "pgserver" / "pginstall" / "bin", int(free_ports(1)[0]))
        initdb = [
            str(server.binaries / "initdb"),
            "-D",
            str(folder / "data"),
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-locale",
            "-N",
        ]
        done = subprocess.run(initdb, capture_output=True, text=True, check=False, timeout=_SECONDS, **_as_nobody(folder))
        assert done.returncode == 0, done.stdout + done.stderr
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def _as_nobody(folder: Path) -> dict[str, Any]:
    """How a process begins that must not be root's."""
    return {"cwd": folder, **({"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.geteuid() == 0 else {})}
