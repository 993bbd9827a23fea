"""How a long command speaks: a bar for people on standard error, a report on standard output that is read to its end or not."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from jobs.processes import Progress


@contextlib.contextmanager
def bar(what: str) -> Iterator[tuple[Progress, Console]]:
    """A bar while the block runs, where a person looks on; beside it, the console on which to say something meanwhile."""
    people = Console(stderr=True)
    columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Bar(*columns, console=people, transient=True, disable=not people.is_terminal) as shown:
        task = shown.add_task("", total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total), shown.console


def is_read(as_dict: Callable[[], dict[str, Any]] | None, show: Callable[[Console], None]) -> bool:
    """Print the report, as JSON where `as_dict` is given; False, after a sentence, where who reads it went away before its end."""
    try:
        if as_dict is None:
            show(Console())
        else:
            print(json.dumps(as_dict()), flush=True)
    except (BrokenPipeError, SystemExit):  # rich makes the second of the first, with the status of findings
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter fails at its end
        print("error: the report was not read to its end", file=sys.stderr)
        return False
    return True
