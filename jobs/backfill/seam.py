"""Where the archive ends and the topic goes on: each offset of the log is read from exactly one of the two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException

from infra.config import Settings
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError
from jobs.archived_log import TABLE, archived
from jobs.committed_records import end_offsets, first_offsets
from jobs.records import Records
from jobs.scoring_parts import SOURCE_TOPIC, Topic


class SeamError(StreamhouseError):
    """Archive and topic do not meet: some offsets are in neither, or they are not of the same log."""


@dataclass(frozen=True)
class Seam:
    """One partition of the log: offsets from `first` up to `seam` come from the archive, from there up to `end` from the topic.

    `low`: where the topic begins.
    """

    first: int
    seam: int
    end: int
    low: int


def seams(settings: Settings, archived: Mapping[int, tuple[int, int]]) -> dict[int, Seam]:
    """Each partition's seam, for an archive with these first and end offsets, which was pinned before, and the topic as of now.

    Raises:
        SeamError: the topic begins behind the archive's end, or ends before it.
        KafkaException: the broker does not answer, or has no such topic.

    """
    places = [(SOURCE_TOPIC, partition) for partition in range(load_contracts().topics[SOURCE_TOPIC].partitions)]
    lows, ends = first_offsets(settings, places), end_offsets(settings, places)
    found = {}
    for place in places:
        first, seam = archived.get(place[1], (0, 0))
        if lows[place] > seam:
            raise _missing(place[1], seam, lows[place])
        if ends[place] < seam:
            message = (
                f"partition {place[1]}: expected topic {SOURCE_TOPIC} to reach up to offset {seam}, where table {TABLE} ends, got a topic"
                f" that ends at {ends[place]}: it is another topic than the one that was archived; bring that one back"
            )
            raise SeamError(message)
        found[place[1]] = Seam(first, seam, ends[place], lows[place])
    return found


def refuse_another_topic(settings: Settings, snapshot_id: int, partition: int, seam: Seam) -> None:
    """See that the topic holds the record with which the archive ends, where it still reaches back to it.

    Raises:
        SeamError: it holds another.
        KafkaException: the broker does not answer.

    """
    if seam.first == seam.seam or seam.low >= seam.seam:
        return
    last = seam.seam - 1
    kept, there = (
        [(records.offset[-1], records.kafka_ms[-1], records.values[-1]) for records in some]
        for some in (archived(settings, partition, last, seam.seam, snapshot_id), behind_the_seam(settings, partition, last, seam.seam))
    )
    if kept != there:
        message = (
            f"partition {partition}: expected topic {SOURCE_TOPIC} to hold the record of offset {last} with which table {TABLE} ends, got"
            f" {'another' if there else 'none'}: it is another topic than the one that was archived; bring that one back"
        )
        raise SeamError(message)


def behind_the_seam(settings: Settings, partition: int, first: int, end: int) -> Iterator[Records]:
    """Committed records of the topic with `first <= offset < end`, in order; those of a transaction that is still open are left out.

    Raises:
        SeamError: retention has taken some of them meanwhile.
        KafkaException: the broker does not answer.

    """
    try:
        yield from Topic(settings, SOURCE_TOPIC).records(partition, first, end)
    except KafkaException as error:
        if error.args[0].code() != KafkaError._AUTO_OFFSET_RESET:
            raise
        low = first_offsets(settings, [(SOURCE_TOPIC, partition)])[SOURCE_TOPIC, partition]
        raise _missing(partition, first, low) from error


def _missing(partition: int, seam: int, low: int) -> SeamError:
    return SeamError(
        f"partition {partition}: expected offsets {seam} to {low - 1} in table {TABLE}, which ends at {seam}, or in topic {SOURCE_TOPIC},"
        f" which retention has cut up to {low}; they are in neither yet: run `./streamhouse submit archive_topics`, and this command again"
        " once the table has gone on"
    )
