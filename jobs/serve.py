"""Run one participant until it is ended: `python -m jobs.serve NAME [INSTANCE]`, as the stack does for the shop's."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable

from infra.clock import system_clock
from infra.config import Settings, load_settings
from infra.errors import StreamhouseError
from infra.stack import health
from jobs.participants import participant
from jobs.patterns.host import Host

_BEAT_SECONDS = 1.0


def serve(settings: Settings, name: str, instance: str | None, stop: threading.Event) -> None:
    """Run it in this thread until `stop`. Two processes without an instance's name share its partitions.

    Raises:
        StreamhouseError: no participant is called so, or a person must decide from where it goes on.

    """
    Host(settings, participant(settings, name), system_clock, instance=instance, beat=beating(settings, name)).run(stop)


def beating(settings: Settings, name: str) -> Callable[[], None]:
    """What tells `status` that a service works, at most once a second."""
    told = 0.0

    def beat() -> None:
        nonlocal told
        if time.monotonic() - told >= _BEAT_SECONDS:
            told = time.monotonic()
            health.beat(settings, name)

    return beat


def until_ended() -> threading.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def main(arguments: list[str]) -> int:
    """Answers the exit status: 0 when it was asked to end, 1 when it cannot go on."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if not 1 <= len(arguments) <= 2:
        print("usage: python -m jobs.serve NAME [INSTANCE]", file=sys.stderr)
        return 2
    try:
        serve(load_settings(), arguments[0], arguments[1] if len(arguments) > 1 else None, until_ended())
    except StreamhouseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
