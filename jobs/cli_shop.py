"""The commands about event-sourced aggregates and the shop's orders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from infra.config import Settings, load_settings
from infra.errors import StreamhouseError
from jobs.asking import asking

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from jobs.patterns.projection import Projection

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
    kind: Annotated[str, typer.Argument(help="order, payment (a wallet), inventory (a warehouse), shipping (a parcel), account ...")],
    aggregate_id: Annotated[str, typer.Argument(metavar="ID", help="an order's (of its parcel, too), user's, warehouse's, account's id")],
    at: Annotated[datetime | None, typer.Option(help="as of this time (UTC), as 2026-03-01 or 2026-03-01T12:00:00")] = None,
    offset: Annotated[int | None, typer.Option(min=0, help="as of this offset of its partition, that event included")] = None,
    version: Annotated[int | None, typer.Option(min=1, help="as of its event of that number")] = None,
    history: Annotated[bool, typer.Option(help="every event: when, which, why")] = False,
    archive: Annotated[bool, typer.Option(help="from the Iceberg table, which needs no broker")] = False,
    as_json: _Json = False,
) -> None:
    """Fold an aggregate's events. Example: ./streamhouse aggregate show payment user_0001 --history"""
    from jobs.participants import aggregates
    from jobs.patterns.show import show

    if sum(limit is not None for limit in (at, offset, version)) > 1:
        message = "aggregate show: expected one of --at, --offset and --version, got several; leave out the others"
        raise StreamhouseError(message)
    settings = load_settings()
    known = aggregates(settings)
    with asking("aggregate show"):
        code = show(settings, known, kind, aggregate_id, at, offset, version, history=history, archive=archive, as_json=as_json)
    raise typer.Exit(code)


@saga.command("show")
def show_saga(order_id: Annotated[str, typer.Argument(metavar="ORDER")], as_json: _Json = False) -> None:
    """Print all that was said about an order, in time. Example: ./streamhouse saga show order-1"""
    from jobs.shop.timeline import show

    with asking("saga show"):
        code = show(load_settings(), order_id, as_json=as_json)
    raise typer.Exit(code)


@saga.command("list")
def list_sagas(
    stuck: Annotated[bool, typer.Option("--stuck", help="only those that should have gone on")] = False,
    seconds: Annotated[float, typer.Option(min=0, help="since when: past a step's deadline, or silent while wound down")] = 5.0,
    as_json: _Json = False,
) -> None:
    """List orders without an end, and what each waits for; exit status 1 if --stuck finds any. Example: ./streamhouse saga list --stuck"""
    from jobs.shop.timeline import list_open

    with asking("saga list"):
        code = list_open(load_settings(), seconds if stuck else None, as_json=as_json)
    raise typer.Exit(code)


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

    with asking("shop check"):
        code = look(load_settings(), as_json=as_json)
    raise typer.Exit(code)


@shop.command("rebuild")
def rebuild_model(
    name: Annotated[str, typer.Argument(help="order_summaries or order_predictions")],
    accept: Annotated[bool, typer.Option("--accept", help="show it though it says something else than the one before")] = False,
) -> None:
    """Build a read model's new version beside the old one, compare, and switch. Example: ./streamhouse shop rebuild order_summaries

    The service does this by itself when a projection's version has risen; where the two are meant to differ, a person accepts it.
    """
    from jobs.patterns.project import ends_of
    from jobs.patterns.rebuild import rebuild

    with _read_models(name) as (settings, database, projection), asking("shop rebuild"):
        ends_of(settings, projection)  # a person waits for a broker that is away for seconds, where a service would for ever
        rebuild(settings, database, projection, accept=accept)
    typer.echo(f"{projection} is what readers see")


@shop.command("drop")
def drop_model(
    name: Annotated[str, typer.Argument(help="order_summaries or order_predictions")],
    version: Annotated[int, typer.Argument(help="its version")],
    live: Annotated[
        bool, typer.Option("--live", help="also the one that readers see; they see none until its service built it anew")
    ] = False,
) -> None:
    """Forget a version of a read model; its events stay. Example: ./streamhouse shop drop order_summaries 1"""
    from jobs.patterns.read_models import drop

    with _read_models(name) as (_, database, projection):
        drop(database, projection.name, version, live=live)
    typer.echo(f"{name} version {version} is gone")


def serve(
    name: Annotated[str, typer.Argument(help="order, payment, inventory, shipping, carrier, account, or one of your own")],
    instance: Annotated[str | None, typer.Argument(help="its lasting name: a process that comes back under it takes over at once")] = None,
) -> None:
    """Run a participant here until Ctrl-C; several share its partitions. Example: ./streamhouse serve account"""
    from jobs.serve import main

    raise typer.Exit(main([name] if instance is None else [name, instance]))


def command(
    kind: Annotated[str, typer.Argument(metavar="COMMAND", help="as CreditWallet, ReceiveStock, PlaceOrder, OpenAccount")],
    data: Annotated[str, typer.Argument(help="its data, as a JSON object")],
    command_id: Annotated[str | None, typer.Option("--id", help="its id, or a text that names it: sent again, it is accepted once")] = None,
    expected_version: Annotated[int | None, typer.Option(min=0, help="refused unless the aggregate has it")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="how long to wait for the answer")] = 10.0,
) -> None:
    """Give an aggregate a command; exit status 1 if refused. Example: ./streamhouse command CreditWallet '{"userId": "ada", "cents": 5}'"""
    from jobs.participants import aggregates
    from jobs.patterns.send import send

    settings = load_settings()
    with asking("command"):
        code = send(settings, aggregates(settings).values(), kind, data, command_id, expected_version, seconds)
    raise typer.Exit(code)


@contextmanager
def _read_models(name: str) -> Iterator[tuple[Settings, Engine, Projection]]:
    """The database, and the projection of this name as its code is now."""
    from sqlalchemy.exc import DBAPIError

    from jobs.patterns.database import open_database
    from jobs.patterns.patience import why
    from jobs.shop.project import PROJECTIONS

    known = {projection.name: projection for projection in PROJECTIONS}
    if name not in known:
        message = f"read model {name!r}: expected one of {', '.join(known)}"
        raise StreamhouseError(message)
    settings = load_settings()
    database = open_database(settings)
    try:
        yield settings, database, known[name]
    except DBAPIError as error:
        message = f"read model {name}: expected its database to answer, got {why(error)}; see read_models.url in the settings"
        raise StreamhouseError(message) from error
    finally:
        database.dispose()
