"""The same replay on Flink's cluster, for histories larger than a machine: a client program runs a bounded job to its end.

Nobody starts it again: it is no job that should run, and what it came to is the client's to tell. When the client is ended, so is the job.
"""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

from infra.config import Settings
from infra.errors import StreamhouseError
from infra.stack import flink_rest, supervise
from infra.stack.services import flink_environment, flink_home
from jobs.processes import Progress
from jobs.replay.chosen import Chosen
from jobs.replay.extent import extent
from jobs.replay.history import History
from jobs.replay.joined import Group, outcome_of
from jobs.replay.request import Request, as_argument, group_of, job_of
from jobs.replay.run import Report, letters_of_table, unanswered

_SLOTS = 2  # per unit of parallelism: both tables are read at a time; later steps take the slots of those that ended
_PASSES = 2  # each row is read, and then joined
_LOOK_SECONDS = 1.0
_LISTED_SECONDS = 4.0  # after which a job that was submitted stands in the JobManager's list
_END_SECONDS = 10.0
_TOO_LARGE = ("Record is too big", "exceeds the maximum size of a sort buffer")  # Flink's words


def replay_on_flink(
    settings: Settings,
    history: History,
    what: Chosen,
    batch: int,
    parallelism: int,
    name: str,
    say: Callable[[str], None],
    progress: Progress,
) -> Report:
    """As `jobs.replay.run.replay`, by the job `name`. `batch`: the most rows in one call of a model.

    Raises:
        StreamhouseError: chosen offsets are not there, the cluster has no room, or the job failed.

    """
    began = time.monotonic()
    reach = extent(settings, history, what)
    spans = what.spans(reach.archived)
    refuse_without_room(settings, parallelism, *flink_rest.slots(settings))
    pins = history.snapshots
    request = Request(name, pins["user_actions"], pins["predictions"], replace(what, offsets=spans), batch, parallelism)
    rows = 2 * sum(end - first for first, end in spans.values())
    outcome = outcome_of(_run(settings, request, say, lambda done: progress(min(done, rows * _PASSES), rows * _PASSES)))
    dead_letters, tail = unanswered(outcome, letters_of_table(settings, history), reach.last)
    return Report(history, outcome, dead_letters, tail, reach.ahead, None, time.monotonic() - began, "flink")


def refuse_without_room(settings: Settings, parallelism: int, free: int, total: int) -> None:
    """See that one TaskManager could hold this job beside all others, as it must when the other one dies. `free`, `total`: slots.

    Raises:
        StreamhouseError: it could not, or too few slots are free.

    """
    stream, wanted = settings.score_events.parallelism + settings.archive_topics.parallelism, _SLOTS * parallelism
    taken = max(total - free, stream)
    if taken + wanted > settings.flink.slots or free < wanted:
        message = (
            f"replay --flink at parallelism {parallelism}: expected {wanted} slots beside the {taken} that score_events, archive_topics and"
            f" other jobs have or need, got {min(settings.flink.slots - taken, free)} of the {settings.flink.slots} of a TaskManager;"
            " end another replay, lower --parallelism, or set flink.slots higher and start the stack anew"
        )
        raise StreamhouseError(message)


def reason(stack_trace: str) -> str:
    """Why a job failed, out of what Flink has of it: a Python worker's own words, else the innermost cause."""
    if any(words in stack_trace for words in _TOO_LARGE):
        return "a record is larger than the memory in which a slot sorts; set flink.taskmanager_memory higher, or replay it without --flink"
    python = stack_trace.rpartition("Traceback (most recent call last)")[2] if "Traceback (most recent" in stack_trace else ""
    said = re.findall(r"^([A-Za-z_][\w.]*(?:Error|Exception|Refused|Interrupt)\b.*)", python, re.MULTILINE)
    causes = said[:1] or re.findall(r"^Caused by: *(.+)", stack_trace, re.MULTILINE)[-1:] or stack_trace.strip().splitlines()[:1]
    return causes[0].strip()[:300] if causes else "Flink says no cause"


def _run(settings: Settings, request: Request, say: Callable[[str], None], progress: Callable[[int], None]) -> list[Group]:
    groups: list[Group] = []
    log = settings.state / "logs" / f"{request.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    job_id: str | None = None
    looked = time.monotonic()
    with log.open("w", encoding="utf-8") as said, _client(settings, request, said) as (client, lines):
        try:
            while (line := _next(lines)) is not None:
                if found := job_of(line):
                    job_id = found
                    say(f"the Flink job runs as {job_id}")
                elif group := group_of(line):
                    groups.append(group)
                elif line:
                    said.write(line + "\n")
                elif job_id and time.monotonic() - looked > _LOOK_SECONDS:
                    looked = time.monotonic()
                    with suppress(StreamhouseError):
                        progress(flink_rest.rows(settings, job_id))
            status = client.wait()
        except BaseException:
            _end(client)
            _cancel(settings, request.name, job_id)
            log.unlink()
            raise
    if status:
        trace = flink_rest.failure(settings, job_id) if job_id else ""
        cause = reason(trace) if trace else _last_words(log)
        message = f"the Flink job of the replay failed: {cause}; see {log} and `./streamhouse logs taskmanager`"
        raise StreamhouseError(message)
    log.unlink()
    return groups


@contextmanager
def _client(settings: Settings, request: Request, errors: IO[str]) -> Iterator[tuple[subprocess.Popen[str], queue.Queue[str | None]]]:
    """Flink's client with the program of the job, attached, and the lines that it says; None is the last."""
    where = f"{settings.flink.host}:{settings.flink.rest_port}"
    file = settings.root / "jobs" / "replay_events.py"
    client = subprocess.Popen(
        [str(flink_home() / "bin" / "flink"), "run", "-m", where, "-py", str(file), as_argument(request)],
        env={**supervise.inherited(os.environ), **settings.environment, **flink_environment(settings)},
        cwd=settings.state,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        start_new_session=True,  # a Ctrl-C of the terminal reaches us alone, and we end job and client in order
    )
    lines: queue.Queue[str | None] = queue.Queue()
    reader = threading.Thread(target=_read, args=(client, lines), daemon=True)
    reader.start()
    try:
        yield client, lines
    finally:
        _end(client)
        reader.join(_END_SECONDS)


def _read(client: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    assert client.stdout is not None
    with client.stdout as stdout:
        for line in stdout:
            lines.put(line.rstrip("\n"))
    lines.put(None)


def _next(lines: queue.Queue[str | None]) -> str | None:
    """The next line, empty where none came in a while."""
    try:
        return lines.get(timeout=0.2)
    except queue.Empty:
        return ""


def _end(client: subprocess.Popen[str]) -> None:
    """End the client with all that it began: a Java, and a Python in it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if client.poll() is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(client.pid, number)
        with suppress(subprocess.TimeoutExpired):
            client.wait(_END_SECONDS)


def _cancel(settings: Settings, name: str, job_id: str | None) -> None:
    """End the job, also one that was submitted this moment."""
    deadline = time.monotonic() + (0.0 if job_id else _LISTED_SECONDS)
    with suppress(StreamhouseError):  # where the JobManager does not answer, nothing can be ended
        while True:
            if job := next((job for job in flink_rest.jobs(settings) if job.is_alive and job.name == name), None):
                job_id = job.id
            if job_id:
                flink_rest.cancel(settings, flink_rest.Job(job_id, name, "RUNNING", 0.0))
            if job_id or time.monotonic() > deadline:
                return
            time.sleep(0.2)


def _last_words(log: Path) -> str:
    text = log.read_text("utf-8", "replace")
    if refused := re.search(r"^error: (.+)$", text, re.MULTILINE):
        return refused[1]
    return reason(text)
