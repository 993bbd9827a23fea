"""The command: wait, audit with a progress bar, print, and answer an exit status."""

from __future__ import annotations

import errno
import sys
import tempfile
import time
import traceback

from rich.console import Console

from infra.clock import system_clock
from infra.config import Settings
from infra.errors import StreamhouseError
from jobs.audit.catch_up import wait
from jobs.audit.run import audit
from jobs.audit.tell import as_dict, show
from jobs.speaking import bar, is_read

CLEAN, FOUND, COULD_NOT = 0, 1, 2


def main(settings: Settings, *, as_json: bool, settled: bool, wait_seconds: float | None) -> int:
    """Print the report to standard output, progress and what went wrong to standard error."""
    people = Console(stderr=True)
    try:
        if wait_seconds is not None and not wait(settings, wait_seconds, system_clock, time.sleep):
            people.print(f"answers or tables did not follow their topics within {wait_seconds:g} s", highlight=False)
        with bar("reading topics and tables") as (tell, _):
            report = audit(settings, settled=settled, progress=tell)
    except StreamhouseError as error:
        print(f"error: {error}", file=sys.stderr)
        return COULD_NOT
    except OSError as error:
        room = f"; it takes about 96 bytes for each action in {tempfile.gettempdir()}, or where TMPDIR says"
        print(f"error: the audit could not go on: {error}{room if error.errno == errno.ENOSPC else ''}", file=sys.stderr)
        return COULD_NOT
    except Exception:  # a mistake of the audit is no finding
        traceback.print_exc()
        return COULD_NOT
    if not is_read((lambda: as_dict(report)) if as_json else None, lambda console: show(report, console)):
        return COULD_NOT
    return CLEAN if report.is_clean else FOUND
