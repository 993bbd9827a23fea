"""A program that is measured: it says "ready" when it is, ends when its standard input does, and is quoted when it dies."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.errors import StreamhouseError

READY_SECONDS = 120.0
"""How long a program may take to be ready: some import for seconds, and read a store of hundreds of thousands of users."""
_ENDS_SECONDS = 30.0
_LOOK_SECONDS = 0.02
_QUOTED = 500  # characters, which hold an exception and where it came from


@dataclass(frozen=True)
class Program:
    """One that runs. `said`: the file of what it prints, on either stream."""

    name: str
    process: subprocess.Popen[bytes]
    said: Path

    def wait_until_ready(self, seconds: float = READY_SECONDS) -> None:
        """Until it says so.

        Raises:
            StreamhouseError: it ended, or is not ready in time.

        """
        deadline = time.monotonic() + seconds
        while b"ready\n" not in self.said.read_bytes().splitlines(keepends=True):
            self.check()
            if time.monotonic() > deadline:
                message = f"{self.name} is not ready after {seconds:g} s{self._quoted()}"
                raise StreamhouseError(message)
            time.sleep(_LOOK_SECONDS)

    def check(self) -> None:
        """Do nothing while it runs.

        Raises:
            StreamhouseError: it ended, with what it said last.

        """
        if (status := self.process.poll()) is not None:
            message = f"{self.name} ended with status {status}{self._quoted()}"
            raise StreamhouseError(message)

    def _quoted(self) -> str:
        said = self.said.read_text("utf-8", "replace").strip()
        return f"; it said last: {said[-_QUOTED:]}" if said else "; it said nothing"


@contextlib.contextmanager
def running(name: str, command: Sequence[str], environment: Mapping[str, str], place: Path, said: Path) -> Iterator[Program]:
    """A program in folder `place`; at the block's end its input ends, and it is killed where it does not end then."""
    with (
        said.open("wb") as out,
        subprocess.Popen(command, cwd=place, env=environment, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT) as process,
    ):
        assert process.stdin is not None
        try:
            yield Program(name, process, said)
            process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):  # what it had to answer was answered
                process.wait(_ENDS_SECONDS)
        finally:
            process.kill()
