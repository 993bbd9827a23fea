"""Whether topics still hold what a projection reads next."""

from __future__ import annotations

import time
from collections.abc import Mapping

from infra.config import Settings
from infra.errors import StreamhouseError
from jobs.committed_records import committed_ends, first_offsets
from jobs.patterns.projection import Projection
from jobs.patterns.read_models import Place

_SECOND_LOOK_SECONDS = 1.0


class TopicCutError(StreamhouseError):
    """Neither a topic nor its archive holds what a projection reads next."""


def first_kept(settings: Settings, projection: Projection, following: Mapping[Place, int]) -> dict[Place, int]:
    """By place, the first offset that its topic still holds; retention took what of `following` lies before.

    Raises:
        TopicCutError: a topic ends before what is read next.
        KafkaException: the broker does not answer.

    """
    for attempt in range(2):
        first, ends = first_offsets(settings, following), committed_ends(settings, following)
        if attempt or all(ends[place] >= offset for place, offset in following.items()):
            break
        time.sleep(_SECOND_LOOK_SECONDS)  # a broker that comes back may not know its ends yet
    for place, offset in following.items():
        if offset > ends[place]:
            message = (
                f"{wanted(projection, place, offset)}, which ends at {ends[place]}: the topic was made anew or lost records;"
                f" `./streamhouse shop drop {projection.name} {projection.version} --live`, and its service builds it anew"
            )
            raise TopicCutError(message)
    return first


def wanted(projection: Projection, place: Place, offset: int) -> str:
    """What a projection reads next, as the beginning of a sentence."""
    topic, partition = place
    return f"projection {projection}: expected offset {offset} next in partition {partition} of {topic}"
