"""Ctrl-C and SIGTERM: a command that gets one ends as by itself, `finally` blocks and all, and says so in a line."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

came: list[int] = []
"""The signals that came, in their order."""

_AGAIN_SECONDS = 0.01


def heed() -> None:
    """From now on SIGTERM raises KeyboardInterrupt as Ctrl-C does, and one that is raised where Python can only print it comes again.

    What whoever began this process has it ignore, as a shell does for what runs in its background, stays ignored.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _raise)
    sys.unraisablehook = _unraisable


def ignore() -> None:
    """From now on none ends this process: it ends already, and another one would make a traceback of its last line."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _raise(number: int, _: FrameType | None) -> None:
    came.append(number)
    raise KeyboardInterrupt


def _unraisable(lost: sys.UnraisableHookArgs) -> None:
    """As in the `finally` of a generator that nobody reads on: the command would go on as if nobody had asked it to end."""
    if isinstance(lost.exc_value, KeyboardInterrupt):
        again = threading.Timer(_AGAIN_SECONDS, os.kill, (os.getpid(), came[-1] if came else signal.SIGINT))
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(lost)
