"""The commands about what happened: features and models made from it, the same again, another model on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from infra.config import load_settings

app = typer.Typer()
_COMMON = ("typer", "rich.console", "rich.progress", "models.scorer")  # of what processes that score need, what imports long


@app.command()
def rebuild() -> None:
    """Fold the archive again: the table feature_log, and the online store unless score_events runs. Example: ./streamhouse rebuild"""
    from jobs.rebuild_features import rebuild as fold_again

    for sentence in fold_again(load_settings()):
        typer.echo(sentence)


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
        typer.echo(sentence)


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

    Exit status 0: every prediction came out again; 1: there are differences; 2: the replay could not run, or found nothing to compare.
    """
    import uuid

    from jobs import processes

    if not flink:
        processes.prepare(*_COMMON, "jobs.replay.parts")
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
def why(
    prediction: Annotated[str, typer.Argument(help="its event id; or PARTITION:OFFSET, or the event id, of the action that it answers")],
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Tell what a prediction was made from, and make it again, to the bit. Example: ./streamhouse why 1:7

    The action, the features and the rows that they came from, the model file, the snapshots that hold it, who has read it. From the
    tables alone; where a broker answers, also what is not archived yet.
    Exit status 0: it came out again, as served and folded; 1: it did not, and each difference is named; 2: there is nothing to explain.
    """
    from jobs.why.command import main

    raise typer.Exit(main(load_settings(), prediction, as_json=as_json))


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
    from jobs import processes

    processes.prepare(*_COMMON, "jobs.backtest.parts")
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
        typer.echo(line)
