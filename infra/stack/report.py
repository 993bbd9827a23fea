"""What `status` says: services, jobs, memory."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from infra.clock import system_clock
from infra.config import Settings
from infra.errors import StreamhouseError
from infra.stack import brakes, flink_rest, groups, health, measured, supervise
from infra.stack.services import SHOP, services

_LITTLE_ROOM = 256 << 20  # bytes


@dataclass(frozen=True)
class ServiceLine:
    """One service: `state` is up, or the supervisor's word."""

    name: str
    state: str
    address: str
    pid: int
    memory_mib: int


@dataclass(frozen=True)
class Report:
    """The stack as of now. `features`: what the meter measured, and `features_line` how it is said while nothing differs.

    `groups`: how far consumers are behind; none while the broker is away.
    """

    services: list[ServiceLine]
    jobs: list[flink_rest.Job]
    missing_jobs: list[str] = field(default_factory=list)
    brakes: dict[str, str] = field(default_factory=dict)
    free_bytes: int = _LITTLE_ROOM
    features: measured.Kept | None = None
    features_line: str = ""
    groups: list[groups.GroupLag] = field(default_factory=list)

    @property
    def not_started(self) -> list[str]:
        """Of the shop's services those that a person took away, where others run."""
        there = {line.name for line in self.services}
        return [name for name in SHOP if name not in there] if there & set(SHOP) else []

    @property
    def is_well(self) -> bool:
        """Every service answers, every job that should run does, and none fails its checkpoints."""
        return not self.troubles

    @property
    def troubles(self) -> list[str]:
        """What is not well, a sentence with its remedy each."""
        if all(line.state == "down" for line in self.services):
            return ["the stack is down; run `./streamhouse up`"]
        found = []
        if self.free_bytes < _LITTLE_ROOM:
            found.append(f"the state folder's disk has {self.free_bytes >> 20} MiB left, and nothing works on a full one; free some")
        found += [
            f"service {line.name} is {line.state}; see `./streamhouse logs {line.name}`" for line in self.services if line.state != "up"
        ]
        found += [f"job {name} does not run; the keeper starts it again, see `./streamhouse logs keeper`" for name in self.missing_jobs]
        found += [f"the brake holds {name}: {why}" for name, why in self.brakes.items()]
        found += [f"job {job.name} {job.trouble}; see `./streamhouse logs taskmanager`" for job in self.jobs if job.trouble]
        if self.features is not None and (alarm := self.features.measured.alarm):
            found.append(f"features: {alarm}; see `./streamhouse meter`")
        return found

    def as_dict(self) -> dict[str, object]:
        """For programs."""
        return {
            "well": self.is_well,
            "troubles": self.troubles,
            "services": [dataclasses.asdict(line) for line in self.services],
            "jobs": [dataclasses.asdict(job) for job in self.jobs],
            "features": None if self.features is None else self.features.as_dict(),
            "groups": [dataclasses.asdict(group) for group in self.groups],
        }

    def show(self) -> None:
        """For people."""
        console = Console()
        table = Table("service", "state", "address", "pid", "MiB")
        for line in self.services:
            table.add_row(line.name, line.state, line.address, str(line.pid or ""), str(line.memory_mib or ""))
        table.add_section()
        table.add_row("all", "", "", "", str(sum(line.memory_mib for line in self.services)))
        console.print(table)
        if self.jobs:
            # 80 columns must do
            table = Table("job", "state", "minutes", "restarts", "checkpoints", "s ago")
            for job in self.jobs:
                age = "" if job.checkpoint_age is None else f"{job.checkpoint_age:.0f}"
                state = f"[bold red]{job.state}[/]" if job.trouble else job.state
                table.add_row(job.name, state, f"{job.running_for / 60:.1f}", str(job.restarts), str(job.checkpoints), age)
            console.print(table)
        if self.groups:
            table = Table("group", "lag", "members", "of which")
            for name in sorted({group.group for group in self.groups}):
                of = [group for group in self.groups if group.group == name]
                behind = ", ".join(f"{group.topic} {group.lag:,}" for group in of if group.lag)
                members = max(group.members for group in of)
                table.add_row(escape(name), f"{sum(group.lag for group in of):,}", str(members or ""), escape(behind))
            console.print(table)
        if self.features_line and not (self.features and self.features.measured.alarm):
            console.print(escape(f"features  {self.features_line}"), highlight=False)
        for trouble in self.troubles:
            console.print(f"[bold red]{escape(trouble)}[/]", soft_wrap=True, highlight=False)
        if self.not_started:
            console.print(f"of the shop's services not started: {', '.join(self.not_started)}; ./streamhouse shop up", highlight=False)
        if self.is_well and not self.jobs:
            console.print("no job runs; start one with `./streamhouse submit score_events`")


def status(settings: Settings) -> Report:
    """Look at everything."""
    states = {state.name: state for state in supervise.states(settings)}
    lines = []
    for service in services(settings):
        state = states.get(service.name)
        lines.append(
            ServiceLine(
                service.name,
                _word(settings, service.name, state),
                health.address(settings, service),
                state.pid if state else 0,
                (state.memory if state else 0) >> 20,
            )
        )
    held, features = brakes.pulled(settings), measured.known(settings)
    is_measuring = features is not None and any(line.name == "meter" and line.state != "down" for line in lines)
    said = features.line(settings.meter.every, system_clock()) if features is not None and is_measuring else ""
    free = shutil.disk_usage(settings.state).free if settings.state.exists() else _LITTLE_ROOM
    has_broker = not settings.kafka.is_embedded or any(line.name == "broker" and line.state == "up" for line in lines)
    lags = groups.lags(settings) if has_broker and any(line.state != "down" for line in lines) else []
    if not any(line.name == "jobmanager" and line.state == "up" for line in lines):
        return Report(lines, [], [], held, free, features, said, lags)
    try:
        jobs = flink_rest.jobs(settings, details=True)
    except StreamhouseError:  # it went away meanwhile
        silent = [dataclasses.replace(line, state="silent") if line.name == "jobmanager" else line for line in lines]
        return Report(silent, [], [], held, free, features, said, lags)
    return Report(lines, [job for job in jobs if job.is_alive], flink_rest.missing(settings, jobs), held, free, features, said, lags)


def _word(settings: Settings, name: str, state: supervise.State | None) -> str:
    """What stands under `state`. That a process runs says little: up is what answers."""
    if settings.stack.runs_elsewhere or (state is not None and state.word == "running"):
        return "up" if health.answers(settings, name) else "silent"
    return "down" if state is None else state.word
