"""`./streamhouse contracts`: what is agreed, and what a change of it would break. What a command needs is imported inside it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

import typer

from infra.config import load_settings
from infra.errors import StreamhouseError

app = typer.Typer(
    no_args_is_help=True, help="Contracts of topics and events, and what a change breaks. Example: ./streamhouse contracts check"
)
_Json = Annotated[bool, typer.Option("--json", help="for programs")]


@app.command()
def check(
    against: Annotated[str | None, typer.Option(help="a commit, branch or tag; where this branch left main when left out")] = None,
    as_json: _Json = False,
) -> None:
    """Compare the contract files with what was applied, the registry and git. Example: ./streamhouse contracts check --against main

    Exit status 0: all changes are safe; 1: one breaks somebody; 2: nothing could be compared with, or not the commit
    that was named.
    """
    from jobs.gate.check import check as compare
    from jobs.gate.told import as_dict, lines

    report = compare(load_settings(), against, datetime.now(UTC).date())
    if as_json:
        typer.echo(json.dumps(as_dict(report)))
    else:
        for line in lines(report):
            typer.echo(line)
    raise typer.Exit(report.status)


@app.command("list")
def list_contracts(as_json: _Json = False) -> None:
    """List topics with their owners, events and versions; deprecated ones with their last day. Example: ./streamhouse contracts list"""
    from infra.contracts.load import load_contracts
    from jobs.gate.shown import listed

    rows = listed(load_contracts(), datetime.now(UTC).date())
    if as_json:
        typer.echo(json.dumps(rows))
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table("topic", "owner", "event", "version", "state", box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    before = ""
    for row in rows:
        again = row["topic"] == before
        table.add_row(
            "" if again else str(row["topic"]), "" if again else str(row["owner"]), row["event"], str(row["version"]), row["state"]
        )
        before = str(row["topic"])
    Console().print(table)


@app.command()
def show(topic: Annotated[str, typer.Argument(help="for example user-actions")], as_json: _Json = False) -> None:
    """Print who writes and reads a topic, and each field of each version. Example: ./streamhouse contracts show orders"""
    from infra.contracts.load import load_contracts
    from jobs.gate.shown import shown

    contracts = load_contracts()
    if topic not in contracts.topics:
        message = f"topic {topic!r}: no contract names it; expected one of {', '.join(sorted(contracts.topics))}"
        raise StreamhouseError(message)
    found = shown(contracts, topic, datetime.now(UTC).date())
    if as_json:
        typer.echo(json.dumps(found))
        return
    for name, value in found.items():
        if name != "events":
            typer.echo(f"{name:<12} {', '.join(value) if isinstance(value, list) else value}")
    for event in found["events"]:
        typer.echo(f"\n{event['event']} {event['version']}: {event['state']}")
        for field in event["fields"]:
            demand = "required" if field["required"] else "optional"
            typer.echo(f"  {field['path']:<32} {field['type']:<18} {demand}  {field['description']}")
