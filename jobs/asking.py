"""A command that asks the broker: where that fails, a person reads a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from infra.errors import StreamhouseError


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Do `what` inside the block.

    Raises:
        StreamhouseError: the broker did not answer.

    """
    from confluent_kafka import KafkaException  # slow to load, and `--help` asks nobody

    try:
        yield
    except (KafkaException, TimeoutError) as error:
        said = error.args[0].str() if isinstance(error, KafkaException) else "no answer in time"
        message = f"{what}: expected the broker to answer, got {said}; see `./streamhouse status`, and run `./streamhouse up`"
        raise StreamhouseError(message) from error
