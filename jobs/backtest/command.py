"""The command: pin a history for good, compare on it with a progress bar, write the report, and say who is better."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from infra.config import Settings
from infra.contracts.codec import rfc3339
from infra.errors import StreamhouseError
from infra.whole_files import write_whole
from jobs.backtest.page import page, verdict, warning
from jobs.backtest.parts import Models
from jobs.backtest.run import Asked, Backtest, backtest, manifests
from jobs.lineage.data import file, model, tables
from jobs.lineage.run import running
from jobs.processes import Progress
from jobs.published_models import published_model
from jobs.replay.chosen import chosen, milliseconds
from jobs.replay.history import TABLES, History, kept
from jobs.scoring_parts import models_folder
from jobs.speaking import bar
from lakehouse.tags import tagged, untag
from models.compared import Estimate


@dataclass(frozen=True)
class Order:
    """What the command line says. Without `tag` the history has a name made of the models', so that the same words read the same later."""

    model: str
    champion: str | None
    tag: str | None
    renew: bool
    from_time: str | None
    to_time: str | None
    known_by: str | None
    seed: int
    resamples: int
    out: Path | None

    @property
    def history(self) -> str:
        """The name of the history."""
        return self.tag or f"backtest-{self.model}" + (f"-{self.champion}" if self.champion else "")

    @property
    def folder(self) -> str:
        """Where the report lies: other choices on one history are another report."""
        usual = {"seed": 1, "resamples": 200}
        flags = {"champion": self.champion if self.tag else None, "from": self.from_time, "to": self.to_time, "known-by": self.known_by}
        flags |= {name: None if getattr(self, name) == value else str(getattr(self, name)) for name, value in usual.items()}
        if self.tag:
            flags["model"] = self.model
        told = "".join(f"_{flag}-{value}" for flag, value in sorted(flags.items()) if value is not None)
        return self.history + re.sub(r"[^A-Za-z0-9@._-]", "-", told)

    @property
    def again(self) -> str:
        """The command that makes the same report again."""
        words = ["./streamhouse", "backtest", "--model", self.model]
        flags = {"champion": self.champion, "tag": self.history, "from": self.from_time, "to": self.to_time, "known-by": self.known_by}
        for flag, value in flags.items():
            words += [] if value is None else [f"--{flag}", value]
        return shlex.join([*words, "--seed", str(self.seed), "--resamples", str(self.resamples)])


def main(settings: Settings, order: Order, *, as_json: bool) -> None:
    """Write `report.html` and `report.json`; print a summary, or the JSON.

    Raises:
        StreamhouseError: a model that was not published, a history that cannot be read, a folder that cannot be written to.

    """
    models = Models(order.model, order.champion)
    what = chosen(order.from_time, order.to_time, [])
    known_by = None if order.known_by is None else milliseconds("known-by", order.known_by)
    asked = Asked(models, what, known_by, order.seed, order.resamples, order.again)
    for name in manifests(settings, models):  # before a history is named, or lets its name go, for a model that cannot score
        published_model(models_folder(settings), name)
    if order.renew:
        untag(settings, order.history, TABLES)
    was_there = tagged(settings, order.history, TABLES) is not None
    history = kept(settings, order.history)
    root, folder = models_folder(settings), order.out or settings.state / "backtests" / order.folder
    reads = [*tables(settings, history.snapshots), *(model(root, *name.split("@")) for name in manifests(settings, models))]
    with running(settings, "backtest", reads, [file(folder, "The report of a backtest.")]), bar("folding and scoring") as (tell, _):
        made, written = _made(settings, history, asked, folder, tell)
    if as_json:
        print(written["report.json"].read_text("utf-8"))
        return
    show(made, Console(), was_there=was_there)
    print(f"written: {written['report.json']}\nfor a browser: {written['report.html'].resolve().as_uri()}")


def _made(settings: Settings, history: History, asked: Asked, folder: Path, tell: Progress) -> tuple[Backtest, dict[str, Path]]:
    """The comparison, and the files of its report."""
    made = backtest(settings, history, asked, tell)
    if not made.comparison.counts.compared:
        why = ", ".join(f"{count:,} {why}" for why, count in made.about.left_out.items()) or "none has a prediction"
        message = f"nothing to compare in history `{history.tag}`, {made.about.folded:,} records: {why}; choose other times or models"
        raise StreamhouseError(message)
    return made, write(made, folder)


def write(made: Backtest, folder: Path) -> dict[str, Path]:
    """The report for people and for programs, each whole or not at all; the same backtest gives the same bytes.

    Raises:
        StreamhouseError: the folder cannot be written to.

    """
    both = {"about": msgspec.to_builtins(made.about), "comparison": msgspec.to_builtins(made.comparison)}
    as_json = msgspec.json.format(msgspec.json.encode(both), indent=1).decode()
    files = {"report.html": page(made.comparison, made.about), "report.json": as_json + "\n"}
    try:
        for name, content in files.items():
            write_whole(folder / name, content)
    except OSError as error:
        message = f"report folder {folder}: expected one that can be written to, got {error}; name another with --out"
        raise StreamhouseError(message) from error
    return {name: folder / name for name in files}


def show(made: Backtest, console: Console, *, was_there: bool) -> None:
    """The verdict, the two models side by side, and what the history is."""
    comparison, about = made.comparison, made.about
    names = escape(comparison.champion.name), escape(comparison.candidate.name)
    table = Table(
        Column("", no_wrap=True),
        *(Column(name, overflow="fold") for name in names),
        Column("difference, 95 % interval", no_wrap=True),
    )
    for label, name in (("AUC", "auc"), ("average precision", "average_precision"), ("log loss", "log_loss"), ("Brier score", "brier")):
        old, new = (getattr(side.metrics, name) for side in (comparison.champion, comparison.candidate))
        table.add_row(label, _value(old), _value(new), _interval(getattr(comparison.difference, name)))
    console.print(escape(verdict(comparison)), highlight=False, soft_wrap=True)
    if about.learned_from:
        console.print(f"[yellow]{escape(warning(about))}[/yellow]", highlight=False, soft_wrap=True)
    console.print(table)
    last = "nothing" if about.last is None else rfc3339(about.last)
    kind = "kept since it got that name; --renew takes the newest" if was_there else "kept from now on"
    compared = f"{comparison.counts.compared:,} of {about.folded:,} records compared"
    console.print(escape(f"{compared}; history `{about.tag}` to {last}, {kind}"), highlight=False, soft_wrap=True)


def _value(estimate: Estimate) -> str:
    return "–" if estimate.value is None else f"{estimate.value:.4f}"


def _interval(estimate: Estimate) -> str:
    if estimate.value is None:
        return "–"
    between = "" if estimate.low is None or estimate.high is None else f" ({estimate.low:+.4f} to {estimate.high:+.4f})"
    return f"{estimate.value:+.4f}{between}"
