"""The command: pin a history, replay it with a progress bar, print, and answer an exit status."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext

from confluent_kafka import KafkaException
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from infra.config import Settings
from infra.errors import StreamhouseError
from jobs.replay.chosen import chosen
from jobs.replay.cluster import replay_on_flink
from jobs.replay.history import NO_HISTORY, pinned
from jobs.replay.run import replay
from jobs.replay.tell import as_dict, show

EQUAL, DIFFERS, COULD_NOT = 0, 1, 2


def main(
    settings: Settings,
    *,
    from_time: str | None,
    to_time: str | None,
    offsets: Sequence[str],
    tag: str | None,
    snapshot_id: int | None,
    fold: bool,
    topics: bool,
    flink: bool,
    parallelism: int | None,
    batch: int,
    as_json: bool,
    own_name: str,
) -> int:
    """Print the report to standard output, progress and what went wrong to standard error. `own_name`: of the history while it is read."""
    people = Console(stderr=True)
    try:
        what = chosen(from_time, to_time, offsets)
        if topics and (fold or tag is not None or snapshot_id is not None):
            raise StreamhouseError("--topics reads what the topics hold now; --fold, --tag and --snapshot need the tables: leave one out")
        if flink and (fold or topics):
            raise StreamhouseError("--flink replays the tables as they were served, and neither --fold nor --topics: leave one out")
        if parallelism is not None and not flink:
            raise StreamhouseError("--parallelism is that of the Flink job; give --flink, too, or leave it out")
        bar = Progress(TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=people, transient=True)
        with nullcontext(NO_HISTORY) if topics else pinned(settings, tag, own_name, snapshot_id) as history, bar:
            task = bar.add_task("", total=None)
            tell = lambda done, total: bar.update(task, completed=done, total=total)  # noqa: E731 - one line for one argument
            if flink:
                hands = parallelism or settings.replay.parallelism
                say = lambda text: bar.console.print(text, highlight=False)  # noqa: E731 - one line for one argument
                report = replay_on_flink(settings, history, what, batch, hands, own_name, say, tell)
            else:
                report = replay(settings, history, what, batch, tell, fold=fold, topics=topics)
    except (StreamhouseError, OSError, KafkaException) as error:
        print(f"error: {error}", file=sys.stderr)
        return COULD_NOT
    except Exception:  # a mistake of the replay is no difference
        traceback.print_exc()
        return COULD_NOT
    try:
        if as_json:
            print(json.dumps(as_dict(report)), flush=True)
        else:
            show(report, Console())
    except (BrokenPipeError, SystemExit):  # rich makes the second of the first
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter fails at its end
        print("error: the report was not read to its end", file=sys.stderr)
        return COULD_NOT
    return EQUAL if report.is_equal else DIFFERS
