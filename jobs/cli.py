"""The command line. What a command needs is imported inside it, so that `--help` is there at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.config import Settings, load_settings
from infra.errors import StreamhouseError
from jobs import cli_shop, interrupts
from jobs.cli_contracts import app as contracts
from jobs.cli_groups import app as groups
from jobs.cli_history import app as history
from jobs.cli_portal import portal
from jobs.dlq.commands import app as dlq

if TYPE_CHECKING:
    from jobs.patterns.lag import Lag

_INTERRUPTED = 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="User actions to predictions and Iceberg tables.",
)
app.add_typer(dlq, name="dlq")
app.add_typer(contracts, name="contracts")
app.add_typer(groups, name="groups")
app.add_typer(history)
app.add_typer(cli_shop.aggregate, name="aggregate")
app.add_typer(cli_shop.saga, name="saga")
app.add_typer(cli_shop.shop, name="shop")
app.command()(cli_shop.serve)
app.command()(cli_shop.command)
app.command()(portal)


def _say(text: str) -> None:
    typer.echo(text)


@app.command()
def up() -> None:
    """Start broker, Flink, Redis and registry, and wait until each answers. Example: ./streamhouse up"""
    from infra.stack.stack import up as start

    settings = load_settings()
    start(settings, _say)
    _addresses(settings)


@app.command()
def down(savepoint: Annotated[bool, typer.Option(help="stop jobs with a savepoint first")] = True) -> None:
    """Stop jobs and services; data stays. Example: ./streamhouse down"""
    from infra.stack.stack import down as stop
    from jobs.lineage import flink_runs

    settings = load_settings()
    stop(settings, _say, savepoints=savepoint)
    flink_runs.stopped(settings, savepoints=savepoint)
    _say("down")


@app.command()
def reset(yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False) -> None:
    """Stop everything and delete topics, tables, features and checkpoints. Example: ./streamhouse reset --yes"""
    import shutil

    from infra.stack.stack import down as stop

    settings = load_settings()
    if settings.stack.runs_elsewhere:
        message = "reset deletes what `up` started, and here it starts nothing; under Docker: docker compose down --volumes"
        raise StreamhouseError(message)
    if not yes:
        typer.confirm(f"delete everything in {settings.state}?", abort=True)
    stop(settings, _say, savepoints=False)
    shutil.rmtree(settings.state, ignore_errors=True)
    _say(f"deleted {settings.state}")


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False) -> None:
    """Show each service, its address, and each job; exit status 1 unless all is well. Example: ./streamhouse status"""
    from infra.stack.report import status as look

    settings = load_settings()
    report = look(settings)
    behind: list[Lag] = []
    untold = ""
    if any(line.name == "broker" and line.state == "up" for line in report.services) or not settings.kafka.is_embedded:
        from jobs.shop.lags import read_model_lags

        behind, untold = read_model_lags(settings)
    if as_json:
        models = [{"name": lag.name, "version": lag.version, "live": lag.is_live, "behind": lag.records} for lag in behind]
        troubles = [*report.troubles, *([untold] if untold else [])]
        _say(json.dumps({**report.as_dict(), "well": not troubles, "troubles": troubles, "readModels": models}))
    else:
        report.show()
        for lag in behind:
            _say(f"read model {lag}")
        if untold:
            _say(untold)
    raise typer.Exit(0 if report.is_well and not untold else 1)


@app.command()
def logs(
    name: Annotated[str, typer.Argument(help="a service, as `status` lists them, or supervisord")],
    lines: Annotated[int, typer.Option("-n", help="how many lines")] = 50,
    follow: Annotated[bool, typer.Option("-f", help="go on")] = False,
) -> None:
    """Print the end of a service's log. Example: ./streamhouse logs taskmanager -n 100"""
    folder = load_settings().state / "logs"
    file = folder / f"{name}.log"
    if not file.is_file():
        there = ", ".join(sorted(path.stem for path in folder.glob("*.log"))) or "none yet; run `./streamhouse up`"
        message = f"no log of {name!r}; there are: {there}"
        raise StreamhouseError(message)
    raise typer.Exit(subprocess.call(["tail", "-n", str(lines), *(["-F"] if follow else []), str(file)]))


@app.command()
def doctor() -> None:
    """Name everything that would keep the stack from working, with its remedy. Example: ./streamhouse doctor"""
    from infra.stack.doctor import examine

    faults = examine(load_settings())
    for fault in faults:
        typer.echo(f"fault: {fault}", err=True)
    if faults:
        raise typer.Exit(1)
    _say("all is well")


@app.command()
def apply(dry_run: Annotated[bool, typer.Option("--dry-run", help="only print the plan")] = False) -> None:
    """Create or evolve topics, schemas, tables and features from their definitions. Example: ./streamhouse apply --dry-run"""
    from jobs.apply import main

    main(load_settings(), dry_run=dry_run)


@app.command()
def submit(
    names: Annotated[list[str], typer.Argument(help="any of score_events, archive_topics, archive_shop")],
    release_brake: Annotated[bool, typer.Option("--release-brake", help="what the brake stopped it for is mended")] = False,
    accept_loss: Annotated[bool, typer.Option("--accept-loss", help="go on behind records that retention took")] = False,
) -> None:
    """Start jobs behind what their outputs hold; one that runs is left alone. Example: ./streamhouse submit score_events"""
    from jobs.submit import submit_all

    flags = ["--release-brake"] * release_brake + ["--accept-loss"] * accept_loss
    outcomes = submit_all(load_settings(), names, flags).values()
    for outcome in outcomes:
        if isinstance(outcome, str):
            _say(outcome)
    if refused := [str(outcome) for outcome in outcomes if isinstance(outcome, StreamhouseError)]:
        raise StreamhouseError("; ".join(refused))


def _above_zero(speed: float | None) -> float | None:
    if speed is not None and not speed > 0:
        message = f"expected a number greater than 0, got {speed:g}; leave it out to play as fast as the stack takes it"
        raise typer.BadParameter(message)
    return speed


@app.command()
def demo(
    speed: Annotated[
        float | None, typer.Option(callback=_above_zero, help="times real time; as fast as the stack takes it when left out")
    ] = None,
    input_file: Annotated[Path | None, typer.Option("--input", help="a CSV or Parquet file instead of the shop's")] = None,
    mapping: Annotated[Path | None, typer.Option(help="how its columns are named")] = None,
    shop: Annotated[bool, typer.Option("--shop", help="then order what was purchased, and follow each order to its end")] = False,
) -> None:
    """Play a clickstream through the whole system and show what came out. Example: ./streamhouse demo --speed 100000"""
    from jobs.demo import demo as run

    run(load_settings(), input_file, mapping, speed, shop=shop)


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="over the tables by their names")],
    as_csv: Annotated[bool, typer.Option("--csv", help="for spreadsheets")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="for programs: one object per line")] = False,
) -> None:
    """SQL over the Iceberg tables. Example: ./streamhouse query "SELECT action, count(*) AS n FROM user_actions GROUP BY action"

    SHOW TABLES lists them, DESCRIBE predictions the columns of one.
    """
    from lakehouse.query import main

    forms = (["--csv"] if as_csv else []) + (["--json"] if as_json else [])
    raise typer.Exit(main([sql, *forms], load_settings()))


@app.command()
def notebook(file: Annotated[Path | None, typer.Argument(help="an .ipynb file; notebooks/predictions.ipynb when left out")] = None) -> None:
    """Run a notebook on the tables and write it with its outputs, also as HTML. Example: ./streamhouse notebook"""
    from jobs.notebook import DEFAULT, run

    settings = load_settings()
    written = run(settings, file or settings.root / DEFAULT)
    _say(f"written: {written.with_suffix('.ipynb')}\nfor a browser: {written.as_uri()}")


@app.command()
def consume(
    topic: Annotated[str, typer.Argument(help="for example predictions")],
    group: Annotated[str, typer.Option(help="the consumer group; it goes on where it stopped")] = "streamhouse-consume",
    limit: Annotated[int | None, typer.Option("-n", help="stop after so many")] = None,
    idle: Annotated[float | None, typer.Option(help="stop when nothing came for so many seconds")] = None,
) -> None:
    """Print a topic as a service reads it: committed records, in a group. Example: ./streamhouse consume predictions -n 3"""
    from jobs.consume import consume as read

    read(load_settings(), topic, group, limit, idle)


@app.command()
def materialize() -> None:
    """Bring the table user_profiles into the online store, by Feast. Example: ./streamhouse materialize"""
    from datetime import UTC, datetime

    from infra.stack.health import answers

    settings = load_settings()
    if not answers(settings, "redis"):
        message = f"no Redis answers at {settings.redis.host}:{settings.redis.port}; run `./streamhouse up`"
        raise StreamhouseError(message)
    from features.materialize import materialize_profiles

    materialize_profiles(settings, datetime.now(UTC))
    _say("the online store holds the newest profile of every user in user_profiles")


@app.command()
def audit(
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
    settled: Annotated[bool, typer.Option(help="nothing is on its way any more: whatever is missing is lost")] = False,
    wait: Annotated[float | None, typer.Option(help="seconds to give answers and tables to follow first")] = None,
) -> None:
    """Prove that each action has one answer and that topics and tables agree, or name each record. Example: ./streamhouse audit

    It reads all of the topics and tables, so the broker must be up; scores are computed again, receipts compared with rows.
    Exit status 0: nothing is wrong; 1: there are findings; 2: the audit could not run.
    """
    from jobs.audit.command import main

    raise typer.Exit(main(load_settings(), as_json=as_json, settled=settled, wait_seconds=wait))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def feast(context: typer.Context) -> None:
    """Run Feast's own command line on this store. Example: ./streamhouse feast feature-views list

    `./streamhouse feast ui` shows its pages, on loopback and the port of the settings unless told otherwise.
    """
    from features.apply import write_configuration

    settings = load_settings()
    file = write_configuration(settings)
    if context.args[:1] == ["ui"]:  # by itself it would listen everywhere; what is said twice counts the second time
        context.args[1:1] = ["--host", "127.0.0.1", "--port", str(settings.portal.feast_port)]
    program = settings.installed / "env" / "bin" / "feast"
    raise typer.Exit(subprocess.call([str(program), "-f", str(file), *context.args], cwd=file.parent))


@app.command()
def chaos(
    minutes: Annotated[float, typer.Option(help="how long faults strike")] = 10.0,
    seed: Annotated[int | None, typer.Option(help="which faults, when and how; drawn and printed when left out")] = None,
    rate: Annotated[float, typer.Option(help="actions a second")] = 300.0,
    only: Annotated[str, typer.Option(help="these faults alone, as kill_worker,zombie; all when left out")] = "",
    keep: Annotated[bool, typer.Option("--keep", help="keep the state folder also when nothing was found")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="write everything to this file, for programs")] = None,
) -> None:
    """Break a stack of its own by random faults and count what came out; 1 on findings. Example: ./streamhouse chaos --seed 7"""
    import secrets

    from jobs.chaos.run import chaos as break_it
    from jobs.chaos.run import show, write

    names = tuple(name for name in only.split(",") if name)
    result = break_it(minutes, secrets.randbelow(10**6) if seed is None else seed, rate, names, keep=keep)
    if json_file is not None:
        write(result, json_file)
    show(result)
    raise typer.Exit(1 if result.findings else 0)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def test(context: typer.Context) -> None:
    """Run every check; arguments go to pytest. Example: ./streamhouse test tests/unit"""
    from jobs.check import check

    raise typer.Exit(check(load_settings(), context.args))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def bench(context: typer.Context) -> None:
    """Measure this project beside its rivals. Example: ./streamhouse bench --quick"""
    from jobs.check import called

    settings = load_settings()
    status = called(settings, [sys.executable, "-P", "-m", "tests.benchmarks.bench", *context.args], Path.cwd())
    interrupts.came.clear()  # what that means, it has said itself
    raise typer.Exit(status)


def _addresses(settings: Settings) -> None:
    from infra.stack.health import address
    from infra.stack.services import services

    for service in services(settings):
        if where := address(settings, service):
            _say(f"  {service.name:<12} {where}")


def main() -> None:
    """Run a command; a fault that a person can mend is one sentence and exit status 1, a signal one and 128 and its number."""
    interrupts.heed()
    try:
        app(prog_name="./streamhouse")
    except StreamhouseError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
    except (KeyboardInterrupt, SystemError, SystemExit) as end:
        # typer makes a status of the first; a C library that calls back into Python makes a SystemError of it
        if not interrupts.came or (isinstance(end, SystemExit) and end.code != _INTERRUPTED):
            raise
        interrupts.ignore()  # one that was raised where Python can only print it comes again, though a C library told of it, too
        typer.echo("interrupted; what was done stays done, and the same command does the rest", err=True)
        sys.exit(128 + interrupts.came[0])


if __name__ == "__main__":
    main()
