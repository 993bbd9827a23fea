"""How a prediction is named: by its event id, which spells its action's place; by that place; or by the action's event id. Pure."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError
from jobs.dlq.letters import as_text, read_place
from jobs.scoring_parts import SOURCE_TOPIC


class Unexplained(StreamhouseError):
    """There is nothing to explain: what was named is no prediction, or is not there."""


@dataclass(frozen=True)
class Place:
    """Where an action lies in topic user-actions."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


def read_name(text: str) -> Place | str:
    """The action's place, or its event id, of which only the archive knows the place.

    Raises:
        Unexplained: it names nothing, or the answer to a record of another topic.

    """
    topics = load_contracts().topics
    beside = [name for name, topic in topics.items() if topic.dead_letter_topic is not None and name != SOURCE_TOPIC]
    if (spelt := read_place(text, SOURCE_TOPIC, beside)) is not None:
        if len(spelt) == 3:
            message = (
                f"{text!r} names record {as_text(spelt)}, and predictions answer actions, records of {SOURCE_TOPIC};"
                f" `./streamhouse dlq list --topic {spelt[2]}` lists what became of refused ones"
            )
            raise Unexplained(message)
        count = topics[SOURCE_TOPIC].partitions
        if spelt[0] >= count:
            message = f"{text!r}: expected one of the {count} partitions of {SOURCE_TOPIC}, 0 to {count - 1}, got {spelt[0]}"
            raise Unexplained(message)
        return Place(spelt[0], spelt[1])
    try:
        return str(uuid.UUID(text))
    except ValueError:
        message = (
            f"{text!r}: expected a prediction's event id, PARTITION:OFFSET of its action in {SOURCE_TOPIC}, or the action's event id;"
            " `./streamhouse consume predictions -n 3` prints some"
        )
        raise Unexplained(message) from None
