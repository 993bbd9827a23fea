"""Which replays a participant has handled: those that its group has passed and of which it made no letter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from infra.config import Settings
from jobs.dlq.chains import Chains
from jobs.dlq.source import Source
from jobs.group_offsets import committed

Passed = Mapping[str, Mapping[int, int]]
"""By participant and partition of its command topic, the offset that its group reads next."""


def passed(settings: Settings, source: Source) -> Passed:
    """How far each participant of the source has committed; nobody, where the letters are of the user actions.

    Raises:
        KafkaException: the broker does not answer.

    """
    places = [(source.name, partition) for partition in range(source.topic.partitions)]
    found = {name: committed(settings, name, places, wait=False) for name in source.participants}
    return {name: {partition: offset for (_, partition), offset in offsets.items()} for name, offsets in found.items()}


def with_passed(chains: Chains, heard: Passed) -> Chains:
    """The same, with the replays that their participants had passed before these letters were read, and refused none of them."""
    handled = {
        place
        for place, note in chains.unanswered().items()
        if place[1] < heard.get(chains.letters[note.letter].failed_in, {}).get(place[0], 0)
    }
    return replace(chains, accepted=chains.accepted | handled)
