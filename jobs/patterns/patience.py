"""Doing again what did not go well because a broker or a database was away."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException
from sqlalchemy.exc import DBAPIError
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from jobs.patterns.database import is_away as is_database_away

_T = TypeVar("_T")
log = logging.getLogger("project")

_LONGEST_WAIT = 5.0
_LOOK_SECONDS = 0.2  # how soon a request to stop is seen
_BROKER_AWAY = (
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TIMED_OUT,
    KafkaError._RESOLVE,
    KafkaError._DESTROY_BROKER,
    KafkaError._NOENT,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.UNKNOWN_TOPIC_OR_PART,  # as a broker says that has just begun
    KafkaError._UNKNOWN_PARTITION,
    KafkaError._UNKNOWN_TOPIC,
)


def never() -> bool:
    """Nobody asks to stop."""
    return False


def is_away(error: BaseException) -> bool:
    """Whether a broker or a database is away, so that the same may go well later."""
    if isinstance(error, KafkaException):
        return error.args[0].code() in _BROKER_AWAY
    return is_database_away(error)


def why(error: BaseException) -> str:
    """What broker or database said, in a line and without statements and their values."""
    if isinstance(error, KafkaException):
        return f"the broker says: {error.args[0].str()} (run `./streamhouse apply` where topics are missing)"
    return f"the database says: {str(getattr(error, 'orig', error)).strip().partition(chr(10))[0]}"


def patient(do: Callable[[], _T], stopped: Callable[[], bool], patience: float | None = None) -> _T | None:
    """Do it, again and again while broker or database are away; None: stopped before."""
    said = ""

    def tell(state: RetryCallState) -> None:
        nonlocal said
        error = state.outcome.exception() if state.outcome is not None else None
        text = why(error) if error is not None else ""
        if text != said:
            log.warning("%s; trying again", text)
        said = text

    def enough(state: RetryCallState) -> bool:
        return stopped() or (patience is not None and (state.seconds_since_start or 0.0) >= patience)

    def sleep(seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not stopped():
            time.sleep(min(left, _LOOK_SECONDS))

    again = Retrying(
        retry=retry_if_exception(is_away),
        wait=wait_random_exponential(multiplier=0.2, max=_LONGEST_WAIT),
        stop=enough,
        before_sleep=tell,
        sleep=sleep,
        reraise=True,
    )
    try:
        return again(do)
    except (KafkaException, DBAPIError) as error:
        if is_away(error) and stopped():
            return None
        raise
