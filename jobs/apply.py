"""Declarations -> topics, schemas, tables, features: the plan first, then the change; twice changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from filelock import FileLock
from rich.console import Console
from rich.table import Table

from infra.config import Settings
from infra.contracts import registry, topics
from infra.contracts.change import Change
from infra.errors import StreamhouseError
from lakehouse import migrate

Step = Callable[[Settings], list[Change]]
_COLOUR = {"create": "green", "update": "yellow", "refuse": "red", "keep": "dim"}


class ApplyRefused(StreamhouseError):
    """A plan holds something that would lose data; what it names must be mended first."""


@dataclass(frozen=True)
class Part:
    """One kind of thing that is declared: what would change, and the change itself."""

    plan: Step
    apply: Step


def _plan_features(settings: Settings) -> list[Change]:
    from features import apply  # importing Feast costs seconds; while they pass, the other plans are made

    return apply.plan(settings)


def _plan_contracts(settings: Settings) -> list[Change]:
    from jobs import contract_history

    return contract_history.plan(settings)


def _apply_contracts(settings: Settings) -> list[Change]:
    from jobs import contract_history

    return contract_history.apply(settings)


def _plan_record(settings: Settings) -> list[Change]:
    from jobs import applied_contracts

    return applied_contracts.plan(settings)


def _apply_record(settings: Settings) -> list[Change]:
    from jobs import applied_contracts

    return applied_contracts.apply(settings)


def _apply_features(settings: Settings) -> list[Change]:
    from features import apply

    return apply.apply(settings)


# in this order: a feature view names its table, an archive its topic; what may be sent is on record before it can be; and what actions are
# decoded by changes when all else is there
PARTS: Mapping[str, Part] = {
    "topics": Part(topics.plan, topics.apply),
    "record": Part(_plan_record, _apply_record),
    "schemas": Part(registry.plan, registry.apply),
    "tables": Part(migrate.plan, migrate.apply),
    "features": Part(_plan_features, _apply_features),
    "contracts": Part(_plan_contracts, _apply_contracts),
}


def main(settings: Settings, dry_run: bool = False, parts: Mapping[str, Part] = PARTS, console: Console | None = None) -> list[Change]:
    """Print the plan, then carry it out unless `dry_run`; answers what was planned, or what was done.

    Raises:
        ApplyRefused: the plan holds a refusal, and nothing was changed; or the registry refused a schema as it came.

    """
    console = console or Console()
    settings.state.mkdir(parents=True, exist_ok=True)
    with FileLock(settings.state / "apply.lock"):  # two at a time wait for each other
        return _plan_and_apply(settings, dry_run, parts, console)


def _plan_and_apply(settings: Settings, dry_run: bool, parts: Mapping[str, Part], console: Console) -> list[Change]:
    with ThreadPoolExecutor(len(parts)) as pool:
        planned = {name: pool.submit(part.plan, settings) for name, part in parts.items()}
        plan = {name: future.result() for name, future in planned.items()}
    changes = [change for part in plan.values() for change in part]
    console.print(_shown(changes))
    _refuse(changes, "nothing was changed")
    if all(change.action == "keep" for change in changes):
        console.print(f"nothing to change: {len(changes)} declarations hold already")
        return changes
    if dry_run:
        console.print("dry run: nothing was changed")
        return changes
    done: list[Change] = []
    for name, part in parts.items():
        if any(change.action != "keep" for change in plan[name]):
            done += part.apply(settings)
            _refuse(done, f"{name} are incomplete")
        else:
            done += plan[name]
    console.print(f"applied {sum(change.action != 'keep' for change in done)} changes")
    return done


def _refuse(changes: list[Change], consequence: str) -> None:
    refused = [f"{change.kind} {change.name}: {change.detail}" for change in changes if change.action == "refuse"]
    if refused:
        raise ApplyRefused("\n".join([*refused, consequence]))


def _shown(changes: list[Change]) -> Table:
    table = Table("action", "kind", "name", "detail", title="plan", title_justify="left")
    for change in changes:
        colour = _COLOUR[change.action]
        table.add_row(f"[{colour}]{change.action}[/]", change.kind, change.name, change.detail)
    return table
