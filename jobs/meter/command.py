"""The command: what the meter measured, for people and programs, and the acknowledgement of what it found."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import groupby

from rich.console import Console
from rich.markup import escape

from infra.config import Settings
from infra.stack import measured
from infra.stack.measured import Kept

EQUAL, DIFFERS = 0, 1


def main(settings: Settings, console: Console, *, as_json: bool, clear: bool, now_ms: int) -> int:
    """Print it, or forget it; answers an exit status."""
    if clear:
        gone = measured.clear(settings, now_ms)
        line = f"forgotten: {gone.measured:,} measured predictions, {gone.differ:,} that differ; it counts anew"
        console.print(json.dumps({"cleared": True}) if as_json else line, highlight=False, soft_wrap=True)
        return EQUAL
    kept = measured.known(settings)
    if as_json:
        told = {"every": settings.meter.every, **({} if kept is None else kept.as_dict())}
        console.print(json.dumps(told), highlight=False, soft_wrap=True, markup=False)
    else:
        for line in lines(kept, settings.meter.every, now_ms):
            console.print(line, highlight=False, soft_wrap=True)
    return DIFFERS if kept is not None and kept.measured.differ else EQUAL


def lines(kept: Kept | None, every: int, now_ms: int) -> list[str]:
    """What is said to people, as rich markup."""
    if kept is None:
        why = "it is off: setting `meter.every` is 0" if not every else "it has not begun; run `./streamhouse up`"
        return [f"nothing was measured yet: {why}"]
    found = kept.measured
    since = datetime.fromtimestamp(found.since_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    said = [
        f"since {since}: {found.measured:,} predictions made again from the log, {found.equal:,} equal to the byte,"
        f" {found.not_measured:,} not measured"
    ]
    if found.alarm is None or kept.doing.waits:
        said.append(escape(kept.line(every, now_ms)) if every else "it is off now: setting `meter.every` is 0")
    for name, some in groupby(sorted(found.first, key=lambda one: (":" not in one.field, one.field)), key=lambda one: one.field):
        shown = list(some)
        said.append(f"[red]{escape(name)}[/red]  {found.counts[name]:,}")
        said += [f"  {escape(one.sentence)}" for one in shown]
        if (more := found.counts[name] - len(shown)) > 0:
            said.append(f"  and {more:,} more")
    if found.differ:
        said.append("once the cause is mended, `./streamhouse meter --clear` counts anew")
    return said
