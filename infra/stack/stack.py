"""up and down: the whole stack as one thing."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator

from filelock import FileLock

from infra.config import Settings
from infra.errors import StreamhouseError
from infra.stack import class_archive, flink_process, flink_rest, health, jars, supervise
from infra.stack.doctor import memory, ports_of_others, ports_taken, state_folder
from infra.stack.services import java_home, services, write_files

UP_SECONDS = 240
_LOOKS_AT_OTHERS = 5  # one of ours may start again at this moment
_HOPELESS = 25  # looks at a service between two attempts to start it, about 0.3 s each


def up(settings: Settings, report: Callable[[str], None]) -> None:
    """Start what does not run and wait until each service answers. Works twice; two at a time wait for each other.

    Raises:
        StreamhouseError: a port is taken, a part is missing, or a service does not come up.

    """
    for fault in state_folder(settings):
        raise StreamhouseError(fault)
    settings.state.mkdir(parents=True, exist_ok=True)
    if settings.stack.runs_elsewhere:
        wait_for(settings, [service.name for service in services(settings)], report)
        return
    with FileLock(settings.state / "up.lock", timeout=UP_SECONDS):
        jars.install(settings)
        wanted = services(settings)
        if begins := not supervise.states(settings):
            if left := supervise.stop(settings):
                report(f"ended {len(left)} processes that a run without its supervisor left behind")
            if faults := list(ports_taken(settings, wanted)):
                raise StreamhouseError(faults[0])
            for fault in memory(settings):
                report(f"warning: {fault}")
            write_files(settings)
            if fault := class_archive.make(settings, java_home() / "bin" / "java"):
                report(f"warning: {fault}")
            _format_broker(settings)
            supervise.start(settings, wanted)
        try:
            wait_for(settings, [service.name for service in wanted], report)
        except PortTakenError:
            if begins:  # or its keeper would look after the jobs of the other
                supervise.stop(settings)
            raise
        for state in supervise.states(settings):
            if state.name in flink_process.NAMES:
                flink_process.keep_command(settings, state.name, state.pid)


class PortTakenError(StreamhouseError):
    """Another program answers in place of a service of this stack."""


def _of_others(settings: Settings, name: str) -> Iterator[str]:
    yield from ports_of_others(settings, [service for service in services(settings) if service.name == name])


def wait_for(settings: Settings, names: list[str], report: Callable[[str], None]) -> None:
    """Until each of these services answers.

    Raises:
        StreamhouseError: one does not come up.

    """
    missing, started = list(names), time.monotonic()
    ended, taken = Counter[str](), Counter[str]()
    ours = not settings.stack.runs_elsewhere
    while missing:
        # one that ends at each start never answers: say why now and not after two minutes
        ended.update(state.name for state in supervise.states(settings) if state.word in ("backoff", "fatal") and state.name in missing)
        if hopeless := [name for name, seen in ended.items() if seen > _HOPELESS]:
            message = (
                f"{hopeless[0]} ends at each start, saying: {_last_words(settings, hopeless[0])}; mend that and run `./streamhouse down`"
            )
            raise StreamhouseError(message)
        for name in list(missing):
            if health.answers(settings, name):
                # free when this was begun, and taken by another stack before ours could listen: what answers is the other's
                if ours and (fault := next(_of_others(settings, name), None)):
                    taken[name] += 1
                    if taken[name] > _LOOKS_AT_OTHERS:
                        message = f"{fault}; end it, or choose other ports: `./streamhouse doctor` names their settings"
                        raise PortTakenError(message)
                    continue
                missing.remove(name)
                report(f"{name} answers after {time.monotonic() - started:.1f} s")
        if missing and time.monotonic() - started > UP_SECONDS:
            message = f"{', '.join(missing)} did not answer within {UP_SECONDS} s; see `./streamhouse logs {missing[0]}`"
            raise StreamhouseError(message)
        if missing and ours and not supervise.states(settings) and not supervise.own_processes(settings):
            message = f"the stack was stopped before {', '.join(missing)} answered; run `./streamhouse up` again"
            raise StreamhouseError(message)
        time.sleep(0.2)


def _last_words(settings: Settings, name: str) -> str:
    file = settings.state / "logs" / f"{name}.log"
    lines = [line for line in file.read_text("utf-8", "replace").splitlines() if line.strip()] if file.exists() else []
    return next((line for line in reversed(lines) if "rror" in line or "xception" in line), lines[-1] if lines else "nothing")[:300]


def _format_broker(settings: Settings) -> None:
    """Give a new broker its cluster id. Transactions of version 1: the Flink connector cannot recover those of version 2."""
    folder = settings.state / "kafka"
    if not settings.kafka.is_embedded or (folder / "data" / "meta.properties").exists():
        return
    tool = [
        str(java_home() / "bin" / "java"),
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-cp",
        str(jars.installed(settings, "kafka") / "*"),
    ]
    tool += ["kafka.tools.StorageTool", "format", "-t", str(uuid.uuid4()), "-c", str(folder / "server.properties")]
    done = subprocess.run(
        [*tool, "--standalone", "--feature", "transaction.version=1"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if done.returncode:
        message = f"the broker's storage cannot be formatted: {done.stderr.strip()[-300:]}"
        raise StreamhouseError(message)


def down(settings: Settings, report: Callable[[str], None], *, savepoints: bool = True) -> None:
    """Stop each job with a savepoint, then every service that `up` started; afterwards no process of this state folder is left."""
    runs = settings.stack.runs_elsewhere or bool(supervise.states(settings))
    others = [] if settings.stack.runs_elsewhere or not runs else list(_of_others(settings, "jobmanager"))
    for fault in others:
        report(f"{fault}: its jobs are left alone")
    if runs and savepoints and not others and health.answers(settings, "jobmanager"):
        for job in flink_rest.jobs(settings, details=True):
            if job.state == "RUNNING":
                try:
                    if job.takes_checkpoints:
                        flink_rest.stop_with_savepoint(settings, job)
                    else:
                        flink_rest.cancel(settings, job)
                    report(f"{job.name} stopped with a savepoint" if job.takes_checkpoints else f"{job.name} was cancelled")
                except StreamhouseError as error:
                    report(str(error))
    if settings.stack.runs_elsewhere:
        return
    supervise.stop(settings)
    flink_rest.forget(settings)
    left = [port for service in services(settings) for port in service.ports if health.is_open(service.host, port)]
    if left:
        report(f"port {left[0]} is still open, held by {health.holder(left[0])}: not ours")
