"""A model folder that nobody has loaded yet -> nothing, or why it is refused. It is loaded first in a process of its own, with limits.

A model file is a program that strangers may have written: it can crash what loads it, take all memory, or never end. What comes to
pass in the child is a sentence here, and never harms the caller.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from infra.whole_files import write_whole
from models.manifest import ModelRefused, load_manifest
from models.trial_rows import LARGE

_ROOT = Path(__file__).resolve().parent.parent
_PROGRAM = ("-m", "models.trial_child")
_DIGESTED = 1 << 30  # bytes of a file; more are not read outside the trial's limits
_MOST_SAID = 1024 * 1024  # bytes
_OUT_OF_MEMORY = ("memoryerror", "bad_alloc", "bad allocation", "failed to allocate", "cannot allocate")
_FREE_OF_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")  # each would take address space
_SMALLER = "publish a smaller model"
_LEANER = f"{_SMALLER}, or one that needs less for a batch of {max(LARGE)} rows"


@dataclass(frozen=True)
class Limits:
    """What a trial may take: bytes of address space, seconds of CPU, seconds by the clock. A large forest takes a tenth of each."""

    address_space: int = 2 << 30
    cpu_seconds: int = 30
    seconds: float = 60.0


LIMITS = Limits()


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit status as `subprocess` gives it, or None where it had to be ended; and the end of what it said."""

    status: int | None
    said: str


def try_model(folder: Path, limits: Limits = LIMITS, program: Sequence[str] = _PROGRAM) -> None:
    """Load the model of `folder` in a child and try it: golden rows, plausible rows, batches of several sizes.

    `program` is what the child's Python runs.

    Raises:
        ModelRefused: the model must not be used; the sentence says why.

    """
    _scores(folder, limits, program, ())


def try_once(folder: Path, stood: Path) -> None:
    """The same, unless a model of these very bytes stood it on this machine before: by this code, these libraries and these limits.

    `stood` is a folder that remembers which ones did. Those that did not are tried anew each time.

    Raises:
        ModelRefused: as `try_model`.

    """
    before = _digest(folder)
    if before is not None and (stood / before).is_file():
        return
    try_model(folder)
    if before is not None and _digest(folder) == before:  # it was not changed meanwhile
        with contextlib.suppress(OSError):  # it only saves a trial
            write_whole(stood / before, "")


def _digest(folder: Path) -> str | None:
    """Of all that a trial depends on; None where the folder holds what is no file, cannot be read or is larger than any model."""
    libraries = [f"{name} {version(name)}" for name in ("onnxruntime", "onnx", "numpy", "msgspec")]
    digest = hashlib.sha256(
        repr([sys.version, socket.gethostname(), platform.processor(), platform.machine(), LIMITS, *libraries]).encode()
    )
    try:
        for file in [*sorted(_ROOT.glob("models/*.py")), *sorted(folder.iterdir())]:
            if not file.is_file() or file.stat().st_size > _DIGESTED:  # a pipe would never end
                return None
            with file.open("rb") as opened:
                digest.update(f"{file.name} {hashlib.file_digest(opened, 'sha256').hexdigest()}\n".encode())
    except OSError:
        return None  # the trial says it in a sentence
    return digest.hexdigest()


def record_scores(folder: Path, limits: Limits = LIMITS) -> list[float]:
    """The scores of the golden rows of `folder`, which have none yet, by a model that stood the trial.

    Raises:
        ModelRefused: as `try_model`.

    """
    return _scores(folder, limits, _PROGRAM, ("--record",))


def _scores(folder: Path, limits: Limits, program: Sequence[str], flags: Sequence[str]) -> list[float]:
    thing = load_manifest(folder).thing
    numbers = (str(limits.address_space), str(limits.cpu_seconds), str(limits.seconds))
    answer = judge(thing, _run([*program, str(folder.resolve()), *numbers, *flags], limits.seconds), limits)
    if isinstance(answer, ModelRefused):
        raise answer
    return answer


def judge(thing: str, ended: Ended, limits: Limits) -> list[float] | ModelRefused:
    """What a child's end means: the scores it gave, or why the model `thing` is refused."""
    answer = _answer(ended.said)
    if ended.status == 0 and "scores" in answer:
        scores: list[float] = answer["scores"]
        return scores
    if ended.status is None or ended.status == -signal.SIGALRM:
        return ModelRefused(thing, f"its trial must end within {limits.seconds:g} s, it did not", _SMALLER)
    if ended.status == -signal.SIGXCPU:
        return ModelRefused(thing, f"its trial must take at most {limits.cpu_seconds} s of CPU, it took more", _SMALLER)
    if any(word in ended.said.lower() for word in _OUT_OF_MEMORY):
        return ModelRefused(thing, f"its trial must fit into {limits.address_space >> 20} MiB of memory, it asked for more", _LEANER)
    if ended.status == 0 and "refused" in answer:
        return ModelRefused(*answer["refused"])
    how = f"died of {signal.Signals(-ended.status).name}" if ended.status < 0 else f"ended with status {ended.status}"
    last = answer.get("failed") or ended.said.strip()[-200:] or "nothing"
    fault = f"the process that loads it must live to give an answer, it {how} after it said {' '.join(last.split())!r}"
    return ModelRefused(thing, fault, "export the model to ONNX again, with other settings or another converter")


def _answer(said: str) -> dict[str, Any]:
    try:
        answer = json.loads(said.rstrip().rpartition("\n")[2])
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _run(arguments: Sequence[str], seconds: float) -> Ended:
    """Run Python with nothing of this process but the search paths of programs and libraries, and end it when its time is over."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "LANG") if name in os.environ}
    process = subprocess.Popen(
        [sys.executable, "-B", "-s", *arguments],
        cwd=_ROOT,
        env={**kept, **_FREE_OF_THREADS},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # an interrupt at the terminal is the parent's, which ends the child
    )
    try:
        return _listen(process, time.monotonic() + seconds)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _listen(process: subprocess.Popen[bytes], deadline: float) -> Ended:
    """Wait for the end of the process, at most until the deadline, and keep the end of what it says."""
    said, pipe, status = b"", process.stdout, None
    assert pipe is not None
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not selector.select(left):
                continue
            if not (more := os.read(pipe.fileno(), 65536)):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    status = process.wait(max(0.0, deadline - time.monotonic()))
                break
            said = (said + more)[-_MOST_SAID:]
    return Ended(status, said.decode("utf-8", "replace"))
