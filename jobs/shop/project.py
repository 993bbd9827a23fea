"""The service that keeps the shop's read models: `python -m jobs.shop.project`."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from confluent_kafka import KafkaException
from sqlalchemy.exc import DBAPIError

from infra.config import Settings, load_settings
from infra.errors import StreamhouseError
from jobs.patterns.database import open_database
from jobs.patterns.patience import why
from jobs.patterns.projection import Projection
from jobs.patterns.rebuild import keep
from jobs.serve import beating
from jobs.shop.order_predictions import ORDER_PREDICTIONS
from jobs.shop.order_summaries import ORDER_SUMMARIES

NAME = "read-models"
_AGAIN_SECONDS = 2.0
PROJECTIONS: Sequence[Projection] = (ORDER_SUMMARIES, ORDER_PREDICTIONS)

log = logging.getLogger("project")


def keep_all(settings: Settings, projections: Sequence[Projection], stop: threading.Event) -> None:
    """Each in a thread of its own until `stop`. One that cannot go on says why, is tried again, and holds up no other.

    While there is such a one the service gives no sign of life, so `status` names it.
    """
    database, beat, failing = open_database(settings), beating(settings, NAME), dict[str, str]()

    def stopped() -> bool:
        if not failing:
            beat()
        return stop.is_set()

    def keep_on(projection: Projection) -> None:
        while not stop.is_set():
            try:
                keep(settings, database, projection, stopped, lambda: _forget(failing, projection.name))
            except (StreamhouseError, DBAPIError, KafkaException) as error:
                text = str(error) if isinstance(error, StreamhouseError) else why(error)
                text += "; see read_models.url" if isinstance(error, DBAPIError) else ""
                if failing.get(projection.name) != text:
                    log.error("%s", text)
                failing[projection.name] = text
                stop.wait(_AGAIN_SECONDS)

    try:
        with ThreadPoolExecutor(len(projections)) as threads:
            under_way = [threads.submit(keep_on, projection) for projection in projections]
            wait(under_way, return_when=FIRST_EXCEPTION)
            stop.set()
        for future in under_way:
            future.result()
    finally:
        database.dispose()


def _forget(failing: dict[str, str], name: str) -> None:
    if failing.pop(name, None) is not None:
        log.info("read model %s goes on", name)


def main() -> None:
    """Until SIGTERM or Ctrl-C, which end it behind the batch that is under way."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        keep_all(load_settings(), PROJECTIONS, stop)
    except StreamhouseError as error:
        log.error("%s", error)
        sys.exit(1)


if __name__ == "__main__":
    main()
