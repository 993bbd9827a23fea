"""The commands about event-sourced aggregates and the shop's orders."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from infra.config import load_settings
from infra.errors import StreamhouseError

aggregate = typer.Typer(
    no_args_is_help=True,
    help="Aggregates as their events made them, now or at any time. Example: ./streamhouse aggregate show account a --history",
)
saga = typer.Typer(no_args_is_help=True, help="Orders on their way through the shop's services. Example: ./streamhouse saga list --stuck")
shop = typer.Typer(no_args_is_help=True, help="The shop's services, and its books. Example: ./streamhouse shop up")

_Names = Annotated[list[str] | None, typer.Argument(help="of its services; all when left out", metavar="[NAME]...")]
_Json = Annotated[bool, typer.Option("--json", help="for programs")]


@aggregate.command("show")
def show_aggregate(
    kind: Annotated[str, typer.Argument(help="order, payment (a user's wallet), inventory (a warehouse), shipping or account")],
    aggregate_id: Annotated[str, typer.Argument(metavar="ID", help="an order's, user's, warehouse's or account's id")],
    at: Annotated[datetime | None, typer.Option(help="as of this time (UTC), as 2026-03-01T12:00:00")] = None,
    offset: Annotated[int | None, typer.Option(help="as of this offset of its partition, that event included")] = None,
    version: Annotated[int | None, typer.Option(help="as of its event of that number")] = None,
    history: Annotated[bool, typer.Option(help="every event: when, which, why")] = False,
    archive: Annotated[bool, typer.Option(help="from the Iceberg table, which needs no broker")] = False,
    as_json: _Json = False,
) -> None:
    """Fold an aggregate's events. Example: ./streamhouse aggregate show payment user_0001 --history"""
    from jobs.participants import aggregates
    from jobs.patterns.show import show

    settings = load_settings()
    known = aggregates(settings)
    raise typer.Exit(show(settings, known, kind, aggregate_id, at, offset, version, history=history, archive=archive, as_json=as_json))


@saga.command("show")
def show_saga(order_id: Annotated[str, typer.Argument(metavar="ORDER")], as_json: _Json = False) -> None:
    """Print all that was said about an order, in time. Example: ./streamhouse saga show order-1"""
    from jobs.shop.timeline import show

    raise typer.Exit(show(load_settings(), order_id, as_json=as_json))


@saga.command("list")
def list_sagas(
    stuck: Annotated[bool, typer.Option("--stuck", help="only those that nothing was said about for so long")] = False,
    seconds: Annotated[float, typer.Option(help="how long that is")] = 60.0,
    as_json: _Json = False,
) -> None:
    """List orders without an end, and what each waits for; exit status 1 if --stuck finds any. Example: ./streamhouse saga list --stuck"""
    from jobs.shop.timeline import list_open

    raise typer.Exit(list_open(load_settings(), seconds if stuck else None, as_json=as_json))


@shop.command("up")
def shop_up(names: _Names = None) -> None:
    """Start the shop's services on the running stack; they come again with it. Example: ./streamhouse shop up"""
    from infra.stack.added import add

    add(load_settings(), _chosen(names), typer.echo)


@shop.command("down")
def shop_down(names: _Names = None) -> None:
    """End the shop's services, or some; what they had read and written stays. Example: ./streamhouse shop down notification"""
    from infra.stack.added import remove

    remove(load_settings(), chosen := _chosen(names))
    typer.echo(f"{', '.join(chosen)}: down")


def _chosen(names: list[str] | None) -> list[str]:
    from infra.stack.services import SHOP

    if unknown := [name for name in names or () if name not in SHOP]:
        message = f"service {unknown[0]!r}: expected one of {', '.join(SHOP)}"
        raise StreamhouseError(message)
    return names or list(SHOP)


@shop.command("check")
def check(as_json: _Json = False) -> None:
    """Check that every order ended once and that money and stock add up; exit status 1 if not. Example: ./streamhouse shop check"""
    from jobs.shop.check import check as look

    raise typer.Exit(look(load_settings(), as_json=as_json))
