"""What `status` says: services, jobs, memory."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from infra.config import Settings
from infra.stack import flink_rest, health, supervise
from infra.stack.services import services


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
    """The stack as of now."""

    services: list[ServiceLine]
    jobs: list[flink_rest.Job]

    @property
    def is_well(self) -> bool:
        """Every service answers and no job fails its checkpoints."""
        return bool(self.services) and all(line.state == "up" for line in self.services)

    def as_dict(self) -> dict[str, object]:
        """For programs."""
        return {
            "services": [dataclasses.asdict(line) for line in self.services],
            "jobs": [dataclasses.asdict(job) for job in self.jobs],
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
        if not self.jobs:
            console.print("no job runs; start one with `./streamhouse submit score_events`")
            return
        table = Table("job", "state", "minutes", "restarts", "checkpoints", "failed", "last s ago")
        for job in self.jobs:
            age = "" if job.checkpoint_age is None else f"{job.checkpoint_age:.0f}"
            failed = f"[bold red]{job.failed_checkpoints}[/]" if job.failed_checkpoints else "0"
            table.add_row(job.name, job.state, f"{job.running_for / 60:.1f}", str(job.restarts), str(job.checkpoints), failed, age)
        console.print(table)


def status(settings: Settings) -> Report:
    """Look at everything."""
    states = {state.name: state for state in supervise.states(settings)}
    lines = []
    for service in services(settings):
        state = states.get(service.name)
        word = "down" if state is None else "up" if state.word == "running" and health.answers(settings, service.name) else state.word
        if word == "running":
            word = "silent"
        if settings.stack.runs_elsewhere:
            word = "up" if health.answers(settings, service.name) else "silent"
        lines.append(
            ServiceLine(
                service.name,
                word,
                health.address(settings, service),
                state.pid if state else 0,
                (state.memory if state else 0) >> 20,
            )
        )
    jobs = []
    if any(line.name == "jobmanager" and line.state == "up" for line in lines):
        jobs = [job for job in flink_rest.jobs(settings, details=True) if job.is_alive]
    return Report(lines, jobs)
