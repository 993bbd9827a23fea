"""The command that shows the event portal, or writes it into a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from infra.config import load_settings


def portal(
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="where it listens on loopback; 0: any free one")] = None,
    export: Annotated[Path | None, typer.Option(help="write it into this folder instead, as a page that opens without a server")] = None,
) -> None:
    """Show every topic, event, table, feature and model, and what runs. Example: ./streamhouse portal

    It works without a running stack too, and then says what did not answer.
    """
    from jobs.portal import server

    settings = load_settings()
    if export is None:
        server.serve(settings, port, typer.echo)
        return
    for file in server.export(settings, export):
        typer.echo(f"wrote {file}")
    typer.echo(f"open {(export / 'index.html').resolve().as_uri()}")
