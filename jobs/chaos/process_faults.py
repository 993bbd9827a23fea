"""Faults of processes: killed, killed twice, stopped past their heartbeat, started a second time."""

from __future__ import annotations

import random
import re
import signal
import time
from collections.abc import Sequence
from contextlib import suppress

import psutil

from infra.errors import StreamhouseError
from infra.stack import flink_rest, supervise
from infra.stack.apart import silent
from infra.stack.services import TASKMANAGERS
from infra.stack.stack import up
from jobs.chaos.ground import Ground, children
from jobs.submit import flink_run

TRANSACTION_SECONDS = 45
"""How long a transaction of the jobs may stay open on a stack that is broken on purpose."""
_HEARTBEAT = 10.0  # seconds after which Flink gives up a TaskManager that is silent
_BROKER_CLEANS = 3.0  # seconds between two looks of the broker at expired transactions, and some
_RUN_SECONDS = 120


def kill_taskmanager(ground: Ground, rng: random.Random) -> str:
    """SIGKILL of the one that scores; the other takes over."""
    return f"killed TaskManager {ground.kill(ground.taskmanager())}"


def kill_taskmanager_twice(ground: Ground, rng: random.Random) -> str:
    """Then the one that took over, while the job is being restored there: none is left until one has started."""
    name = ground.taskmanager()
    (other,) = set(TASKMANAGERS) - {name}
    first, wait = ground.kill(name), rng.uniform(0, 3)
    time.sleep(wait)
    return f"killed TaskManager {first}, and {ground.kill(other)} {wait:.1f} s later"


def kill_jobmanager(ground: Ground, rng: random.Random) -> str:
    """SIGKILL; it forgets its jobs, and somebody has to start them again."""
    return f"killed JobManager {ground.kill('jobmanager')}"


def kill_worker(ground: Ground, rng: random.Random) -> str:
    """One of the scoring job's Python processes."""
    return f"killed Python worker {_kill_worker(ground, rng, scoring=True)}"


def kill_archive_worker(ground: Ground, rng: random.Random) -> str:
    """One of the archive's Python processes; scoring goes on."""
    return f"killed Python worker {_kill_worker(ground, rng, scoring=False)} of the archive"


def _kill_worker(ground: Ground, rng: random.Random, *, scoring: bool) -> int:
    worker = rng.choice(sorted(ground.workers(scoring=scoring), key=lambda process: process.pid))
    with suppress(psutil.NoSuchProcess):
        worker.send_signal(signal.SIGKILL)
    ground.struck()
    return int(worker.pid)


def kill_broker(ground: Ground, rng: random.Random) -> str:
    """SIGKILL; what the system had not written yet it still writes, since the machine goes on."""
    return f"killed broker {ground.kill('broker')}"


def restart_broker(ground: Ground, rng: random.Random) -> str:
    """SIGTERM: the broker ends in good order, and the supervisor starts it again."""
    process = ground.process("broker")
    process.terminate()
    ground.struck()
    return f"broker {process.pid} was asked to end"


def freeze_broker(ground: Ground, rng: random.Random) -> str:
    """As on a disk that takes nothing for a while."""
    seconds = rng.uniform(2, 8)
    ground.struck()
    with ground.frozen("broker"):
        time.sleep(seconds)
    return f"the broker stood still for {seconds:.1f} s"


def kill_redis(ground: Ground, rng: random.Random) -> str:
    """SIGKILL; it may come back without its last second."""
    return f"killed Redis {ground.kill('redis')}"


def kill_registry(ground: Ground, rng: random.Random) -> str:
    """SIGKILL; nobody asks it while jobs run."""
    return f"killed registry {ground.kill('registry')}"


def kill_forkserver(ground: Ground, rng: random.Random) -> str:
    """SIGKILL of the process that forks the Python workers, and all of them end with it."""
    return f"killed forkserver {ground.kill('forkserver')}"


def kill_keeper(ground: Ground, rng: random.Random) -> str:
    """SIGKILL of the process that looks after the jobs."""
    return f"killed keeper {ground.kill('keeper')}"


def power_cut(ground: Ground, rng: random.Random) -> str:
    """SIGKILL of the supervisor and of all that it started, in any order; then one command."""
    processes = supervise.own_processes(ground.settings)
    rng.shuffle(processes)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    ground.struck()
    psutil.wait_procs(processes, timeout=10)
    supervise.end(supervise.own_processes(ground.settings), 0)  # what the supervisor started between two kills
    up(ground.settings, silent)
    return f"killed the supervisor and all, {len(processes)} processes, and ran `up`"


def zombie(ground: Ground, rng: random.Random) -> str:
    """A TaskManager stands still past its heartbeat, the other takes over, and the first wakes up in the midst of its work."""
    wait = _HEARTBEAT + rng.uniform(2, 5)
    with ground.frozen(ground.taskmanager()) as stopped:
        ground.struck()
        time.sleep(wait)
        ground.caught_up()  # on the other
    return f"TaskManager {stopped.pid} stood still past its heartbeat, and woke up beside its successor"


def freeze_taskmanager(ground: Ground, rng: random.Random) -> str:
    """It stands still, past its heartbeat or not."""
    seconds = rng.choice((rng.uniform(1, 8), _HEARTBEAT + rng.uniform(1, 5)))
    with ground.frozen(ground.taskmanager()):
        ground.struck()
        time.sleep(seconds)
    return f"the TaskManager stood still for {seconds:.1f} s"


def stopped_for_long(ground: Ground, rng: random.Random) -> str:
    """Nothing of the jobs runs for longer than their transactions live, so that the broker aborts what was not committed."""
    return _stopped_for_long(ground, TASKMANAGERS)


def all_stopped_for_long(ground: Ground, rng: random.Random) -> str:
    """The same, and the JobManager has forgotten them."""
    return _stopped_for_long(ground, (*TASKMANAGERS, "jobmanager"))


def _stopped_for_long(ground: Ground, services: Sequence[str]) -> str:
    seconds = TRANSACTION_SECONDS + _BROKER_CLEANS
    processes = [ground.process(service) for service in services]
    processes += [child for process in processes for child in children(process)]
    supervisor = psutil.Process(int(supervise.pid_file(ground.settings).read_text("utf-8")))
    supervisor.suspend()  # or it would start at once what is killed
    try:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        ground.struck()
        time.sleep(seconds)
    finally:
        supervisor.resume()
    return f"{' and '.join(services)} stayed away for {seconds:.0f} s, longer than a transaction lives"


def second_copy(ground: Ground, rng: random.Random) -> str:
    """The scoring job started again by bare `flink run` while it runs: refused, or its first checkpoint would fence the other.

    Raises:
        StreamhouseError: it was taken.

    """
    settings = ground.settings
    before = {job.id for job in flink_rest.jobs(settings) if job.is_alive}
    done = flink_run(settings, ["score_events"], (), _RUN_SECONDS)
    said = done.stdout + done.stderr
    (settings.state / "logs" / "second-copy.log").write_text(said, "utf-8")
    taken = [job for job in flink_rest.jobs(settings) if job.is_alive and job.id not in before and job.name == "score_events"]
    for job in taken:
        flink_rest.cancel(settings, job)
    if taken or done.returncode == 0:
        message = f"a second copy of score_events was started by `flink run` as {[job.id for job in taken]}; expected it to be refused"
        raise StreamhouseError(message)
    sentence = re.search(r"^error: (.+)$", said, re.MULTILINE)
    if sentence is None:
        message = f"a second copy of score_events was not refused by a sentence; see {settings.state / 'logs' / 'second-copy.log'}"
        raise StreamhouseError(message)
    return f"a second copy of score_events was refused: {sentence[1][:200]}"
