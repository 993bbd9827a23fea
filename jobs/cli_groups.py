"""The commands about consumer groups: how far each one is, and from where it goes on."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer

from infra.config import load_settings
from infra.errors import StreamhouseError
from jobs.asking import asking

app = typer.Typer(
    no_args_is_help=True, help="Consumer groups: how far each one is, and from where it goes on. Example: ./streamhouse groups list"
)


@app.command("list")
def list_groups(
    group: Annotated[str | None, typer.Argument(help="only this one")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """List each group's offsets, lag and members by topic and partition. Example: ./streamhouse groups list inventory"""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    from infra.stack import groups

    with asking("groups"):
        parts = [part for part in groups.parts(load_settings(), 15.0) if group in (None, part.group)]
    if group is not None and not parts:
        message = f"group {group!r}: expected one that has read a topic; `./streamhouse groups list` names them"
        raise StreamhouseError(message)
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(part) for part in parts]))
        return
    numbers = (Column(name, justify="right") for name in ("committed", "end", "lag", "members"))
    table = Table("group", "topic", Column("part.", justify="right"), *numbers, box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for part in parts:
        at = "-" if part.committed is None else str(part.committed)
        table.add_row(Text(part.group), part.topic, str(part.partition), at, str(part.end), f"{part.lag:,}", str(part.members))
    Console().print(table if parts else "no group has read a topic yet")


@app.command("reset")
def reset_group(
    group: Annotated[str, typer.Argument(help="as `groups list` names it")],
    topic: Annotated[str, typer.Option(help="a topic that it reads")],
    to: Annotated[str, typer.Option(metavar="beginning|end|offset N|time T", help="from where it goes on")],
    value: Annotated[str | None, typer.Argument(metavar="[N|T]", help="the offset or the time behind --to offset and --to time")] = None,
    partition: Annotated[list[int] | None, typer.Option(min=0, help="only this one; may be given for several")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="change nothing; say what would be")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="a participant's group too, whose offsets are a part of its transactions")] = False,
) -> None:
    """Set where a group without members reads next. Example: ./streamhouse groups reset analytics --topic orders --to time 2024-03-01

    No other group moves. What it had committed is printed, so that --to offset N with --partition brings it back.
    """
    from jobs.groups import planned, read_target, refusal, reset

    target, settings = read_target(to, value), load_settings()
    with asking("groups"):
        moves = planned(settings, group, topic, target, partition or ())
        refused = refusal(settings, group, yes=yes)
        if not dry_run:
            reset(settings, group, topic, moves, yes=yes)
    for move in moves:
        before = "nothing committed" if move.before is None else f"{move.before:,}"
        typer.echo(f"{topic}, partition {move.partition}: {before} -> {move.after:,}")
    again = sum(max(0, (move.before or 0) - move.after) for move in moves)
    skipped = sum(max(0, move.after - (move.before or 0)) for move in moves)
    would, rest = ("would be", "; nothing was changed") if dry_run else ("are", "")
    typer.echo(f"{again:,} offsets {would} read again, {skipped:,} skipped{rest}")
    if refused:
        typer.echo(f"it would be refused: {refused}")
        raise typer.Exit(1)
