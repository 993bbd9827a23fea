"""The command line. What a command needs is imported inside it, so that `--help` is there at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from infra.config import Settings, load_settings
from infra.errors import StreamhouseError
from jobs import interrupts
from jobs.dlq.commands import app as dlq

_INTERRUPTED = 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="User actions to predictions and Iceberg tables.",
)
app.add_typer(dlq, name="dlq")


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

    stop(load_settings(), _say, savepoints=savepoint)
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

    report = look(load_settings())
    if as_json:
        _say(json.dumps(report.as_dict()))
    else:
        report.show()
    raise typer.Exit(0 if report.is_well else 1)


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
    names: Annotated[list[str], typer.Argument(help="score_events, archive_topics, or both")],
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
) -> None:
    """Play a clickstream through the whole system and show what came out. Example: ./streamhouse demo --speed 100000"""
    from jobs.demo import demo as run

    run(load_settings(), input_file, mapping, speed)


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
def rebuild() -> None:
    """Fold the archive again: the table feature_log, and the online store unless score_events runs. Example: ./streamhouse rebuild"""
    from jobs.rebuild_features import rebuild as fold_again

    for sentence in fold_again(load_settings()):
        _say(sentence)


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
def train(
    name: Annotated[str, typer.Argument(help="the model's name")] = "purchase_30m",
    trees: Annotated[int | None, typer.Option(help="how many; 100 when left out")] = None,
    leaves: Annotated[int | None, typer.Option(help="at most so many on each tree; 7 when left out")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="how much each tree adds; 0.05 when left out")] = None,
) -> None:
    """Train a model from the tables and publish it as the next version. Example: ./streamhouse train purchase_30m --trees 200"""
    from jobs.train_model import train_and_tell
    from models.training import Recipe

    chosen = {"trees": trees, "leaves": leaves, "learning_rate": learning_rate}
    recipe = Recipe(**{key: value for key, value in chosen.items() if value is not None})  # type: ignore[arg-type]
    train_and_tell(load_settings(), name, recipe=recipe)


@app.command()
def publish(folder: Annotated[Path, typer.Argument(help="holds manifest.yaml and the .onnx file that it names")]) -> None:
    """Check a model that was made elsewhere, try it and publish it, or say why not. Example: ./streamhouse publish my_models/buys

    The manifest names the model's file, its sha256, inputs and output, as those in models/published do. Golden rows (golden.json) are
    checked when the folder brings them and recorded when it does not. A version that is published never changes.
    """
    from jobs.publish_model import publish_and_tell

    for sentence in publish_and_tell(load_settings(), folder):
        _say(sentence)


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


@app.command()
def replay(
    from_time: Annotated[str | None, typer.Option("--from", help="event time to begin with, as 2024-03-01 or 2024-03-01T12:00Z")] = None,
    to_time: Annotated[str | None, typer.Option("--to", help="event time before which the last action lies")] = None,
    offsets: Annotated[list[str] | None, typer.Option(help="PARTITION:FIRST-LAST of user-actions; may be given for several")] = None,
    tag: Annotated[str | None, typer.Option(help="the history of that tag instead of the newest")] = None,
    snapshot_id: Annotated[int | None, typer.Option("--snapshot", help="the actions of an older snapshot of user_actions")] = None,
    fold: Annotated[bool, typer.Option("--fold", help="fold the archive again, too, and compare each vector and the feature log")] = False,
    topics: Annotated[bool, typer.Option("--topics", help="read the topics instead of the tables, as far as they reach back")] = False,
    flink: Annotated[bool, typer.Option("--flink", help="on the Flink cluster, for histories larger than a machine")] = False,
    parallelism: Annotated[int | None, typer.Option(min=1, help="of the Flink job; each takes two slots")] = None,
    batch: Annotated[int, typer.Option(min=1, help="actions in one call of the model; no score depends on it")] = 20_000,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Score archived actions again as they were served, and compare to the bit. Example: ./streamhouse replay --from 2024-03-01 --fold

    Exit status 0: every prediction came out again; 1: there are differences; 2: the replay could not run.
    """
    import uuid

    from jobs.replay.command import main

    status = main(
        load_settings(),
        from_time=from_time,
        to_time=to_time,
        offsets=offsets or [],
        tag=tag,
        snapshot_id=snapshot_id,
        fold=fold,
        topics=topics,
        flink=flink,
        parallelism=parallelism,
        batch=batch,
        as_json=as_json,
        own_name=f"replay-{uuid.uuid4()}",
    )
    raise typer.Exit(status)


@app.command()
def backtest(
    model: Annotated[str, typer.Option(help="the candidate, NAME@VERSION")],
    champion: Annotated[str | None, typer.Option(help="NAME@VERSION; what was published, when left out")] = None,
    tag: Annotated[str | None, typer.Option(help="the history; named after the models and kept when left out")] = None,
    renew: Annotated[bool, typer.Option("--renew", help="let the history of that name go, and keep the newest under it")] = False,
    from_time: Annotated[str | None, typer.Option("--from", help="event time of the first action to compare on")] = None,
    to_time: Annotated[str | None, typer.Option("--to", help="event time before which the last one lies")] = None,
    known_by: Annotated[str | None, typer.Option(help="labels that became known later do not count")] = None,
    seed: Annotated[int, typer.Option(min=0, help="of the intervals")] = 1,
    resamples: Annotated[int, typer.Option(min=2, max=10_000, help="of the intervals")] = 200,
    out: Annotated[Path | None, typer.Option(help="folder for report.html and report.json")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the report for programs")] = False,
) -> None:
    """Tell what a model would have said on the archive, against what was said. Example: ./streamhouse backtest --model purchase_30m@2

    The archive is folded in log order, so the model is given the features that there were then. The same command gives the same
    report later: the tables stay as they were under a tag.
    """
    from jobs.backtest.command import Order, main

    order = Order(model, champion, tag, renew, from_time, to_time, known_by, seed, resamples, out)
    main(load_settings(), order, as_json=as_json)


@app.command()
def backfill(
    model: Annotated[str, typer.Option(metavar="NAME@VERSION", help="a published model")],
    rows: Annotated[int, typer.Option(min=1, help="at most so many in one snapshot; what bounds memory")] = 200_000,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Score every past action with a model, into a table of its own. Example: ./streamhouse backfill --model purchase_30m@1

    The table scores_NAME_vVERSION gets a row for each accepted action: the archive is folded from its first offset, then the topic from
    where the archive ends. Killed and run again it goes on, each action once; run later it adds what is new. No topic is written.
    Exit status 0: the table is filled up to the topic's end; 2: it could not be.
    """
    import uuid

    from jobs.backfill.command import main

    raise typer.Exit(main(load_settings(), model, rows=rows, as_json=as_json, own_name=f"backfill-{uuid.uuid4()}"))


@app.command()
def meter(
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
    clear: Annotated[bool, typer.Option("--clear", help="what was found is known; forget it and count anew")] = False,
) -> None:
    """Tell how many predictions the log gave again, and which not; exit status 1 if any differs. Example: ./streamhouse meter

    The service `meter` makes the predictions of every nth user again while they are made, and compares them to the byte.
    """
    from rich.console import Console

    from infra.clock import system_clock
    from jobs.meter.command import main

    raise typer.Exit(main(load_settings(), Console(), as_json=as_json, clear=clear, now_ms=system_clock()))


@app.command()
def tag(
    name: Annotated[str | None, typer.Argument(help="of the history; small letters, digits, _ . @ -")] = None,
    drop: Annotated[bool, typer.Option("--drop", help="take the name away; upkeep may expire what it kept")] = False,
) -> None:
    """Keep the tables as they are now under a name, for replays, backtests, training. Example: ./streamhouse tag spring-2024

    Without a name: list those that there are.
    """
    from jobs.replay.named import main

    for line in main(load_settings(), name, drop=drop):
        _say(line)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def feast(context: typer.Context) -> None:
    """Run Feast's own command line on this store. Example: ./streamhouse feast feature-views list"""
    from features.apply import write_configuration

    settings = load_settings()
    file = write_configuration(settings)
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
        typer.echo("interrupted; what was done stays done, and the same command does the rest", err=True)
        sys.exit(128 + interrupts.came[0])


if __name__ == "__main__":
    main()
