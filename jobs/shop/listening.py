"""How the shop's listening services run as programs: until they are asked to end."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from infra.config import Settings, load_settings
from infra.errors import StreamhouseError
from jobs.patterns.subscriber import Subscriber
from jobs.serve import until_ended


def run(subscriber: Callable[[Settings], Subscriber]) -> int:
    """Answers the exit status: 0 when it was asked to end, 1 when it cannot go on."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        subscriber(load_settings()).run(until_ended())
    except StreamhouseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
