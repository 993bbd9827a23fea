"""How long `./streamhouse audit` takes for a million actions with their answers and tables.

    .streamhouse/env/bin/python -m tests.benchmarks.audit [--actions N] [--transaction N] [--rounds R] [--json FILE]

A broker and a lake of its own, no Flink: the clickstream again and again with other users, answered by the scoring path and archived in
files by partition and day. Each transaction leaves a control record, an offset without a row, in each partition that it wrote to: a small
`--transaction` makes many. The exit status is 1 unless every round is clean. Numbers of a shared machine are worth little: the load is
told beside them, and CPU seconds are steadier than the clock's.
"""

from __future__ import annotations

import contextlib
import math
import os
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

import orjson
import psutil
import typer

from infra.config import ROOT, Settings
from infra.contracts.partitioner import partition_of
from jobs.audit.run import Report, audit
from jobs.clickstream import open_clickstream, rows
from tests.audited import PARTITIONS, Archive, Scorer, Sent, Writer, audited_system

_STATE = ROOT / ".streamhouse" / "audit-benchmark"


def main(
    actions: Annotated[int, typer.Option(min=1)] = 1_000_000,
    transaction: Annotated[int, typer.Option(min=1, help="how many actions are committed at once")] = 100_000,
    rounds: Annotated[int, typer.Option(min=1)] = 2,
    file: Annotated[Path | None, typer.Option("--json", help="where to write the numbers")] = None,
) -> None:
    """Fill a broker and a lake, then audit them."""
    shutil.rmtree(_STATE, ignore_errors=True)
    try:
        with audited_system(_STATE) as settings:
            _fill(settings, actions, transaction)
            measured = [_round(settings) for _ in range(rounds)]
    finally:
        shutil.rmtree(_STATE, ignore_errors=True)
    if file is not None:
        file.write_bytes(
            orjson.dumps(
                {"actions": actions, "transaction": transaction, "rounds": [numbers for _, numbers in measured]}, option=orjson.OPT_INDENT_2
            )
        )
    raise typer.Exit(0 if all(report.is_clean and report.counts.actions == actions for report, _ in measured) else 1)


def _fill(settings: Settings, actions: int, transaction: int) -> None:
    began = time.monotonic()

    def step(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", file=sys.stderr, flush=True)

    shop, made = Writer(settings, "shop"), _actions(actions)
    while some := list(islice(made, transaction)):
        shop.send_many(("user-actions", sent) for sent in some)
    step(f"{actions:,} actions are sent")
    Scorer(settings).answer()
    step("they are answered")
    Archive(settings).follow_all()
    step("all is archived")


def _round(settings: Settings) -> tuple[Report, dict[str, float]]:
    load, used, peak = os.getloadavg()[0], _cpu_seconds(), 0
    others = {process.pid for process in psutil.Process().children(recursive=True)}

    def look(_: int, __: int) -> None:
        nonlocal peak
        workers = [process for process in psutil.Process().children(recursive=True) if process.pid not in others]
        peak = max(peak, sum(_resident(process) for process in workers))

    report = audit(settings, settled=True, progress=look)
    numbers = {
        "seconds": round(report.seconds, 1),
        "cpu_seconds": round(_cpu_seconds() - used, 1),
        "peak_megabytes_of_both_workers": peak >> 20,
        "load_before": round(load, 1),
        "load_after": round(os.getloadavg()[0], 1),
        "findings": report.findings.total,
        "offsets_without_row": sum(told.neither for told in report.counts.without_row.values()),
        "files": sum(report.counts.files.values()),
    }
    print("  ".join(f"{name} {value}" for name, value in numbers.items()), flush=True)
    return report, numbers


def _resident(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.NoSuchProcess):
        return int(process.memory_info().rss)
    return 0


def _cpu_seconds() -> float:
    """Of this process and of those that have ended; the broker, which runs on, is not among them."""
    of = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in of)


def _actions(count: int) -> Iterator[Sent]:
    """The clickstream in time order, each action by as many users as it takes."""
    clickstream = open_clickstream(ROOT / "data" / "shop_clickstream.csv.gz")
    copies = math.ceil(count / clickstream.size)
    number = 0
    for row in rows(clickstream):
        event = orjson.loads(row.value)
        event["eventId"], event["data"]["userId"] = "@EVENT@", "@USER@"
        template = orjson.dumps(event)
        for copy in range(copies):
            if number == count:
                return
            user = f"{row.user_id}_{copy}"
            identifier = b"%08x-0000-4000-8000-000000000000" % number
            value = template.replace(b"@EVENT@", identifier).replace(b"@USER@", user.encode())
            yield Sent(user.encode(), value, partition=partition_of(user, PARTITIONS))
            number += 1


if __name__ == "__main__":
    typer.run(main)
