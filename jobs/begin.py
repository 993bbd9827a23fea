"""From where a job that is started goes on: behind what its outputs hold. Never from a checkpoint, and never from nothing in silence.

A checkpoint says what a job was about to commit. It may be older than what is committed, or spoilt, and the transactions that
it names may have timed out with one line in a log. The outputs themselves say what is there and what is missing; so a start
aborts what was left open, reads them, and goes on with the first record that they lack.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from filelock import FileLock, Timeout

from infra.config import Settings
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError
from infra.stack import brakes, flink_rest
from jobs import accepted_losses
from jobs.accepted_losses import Loss
from jobs.answered import answered, first_unanswered, without
from jobs.archive_columns import ARCHIVED
from jobs.committed_records import end_offsets, first_offsets
from jobs.group_offsets import Offsets
from jobs.offset_ranges import Ranges
from jobs.scoring_parts import SOURCE_TOPIC

_OTHER_START_SECONDS = 180.0


@dataclass(frozen=True)
class Begin:
    """`offsets`: by topic and partition, the first record to read; `answered`: by partition of the source, what needs no answer beyond.

    `sentence` says it for people.
    """

    offsets: Offsets
    answered: Mapping[int, Ranges]
    sentence: str


EXPLAINED = Begin({}, {}, "")
"""For a plan that is only looked at."""


class RecordsCutError(StreamhouseError):
    """Retention took records before the job came to them."""


class OtherTopicError(StreamhouseError):
    """A topic ends before what was done of it: it was made anew, or its broker lost records."""


@contextlib.contextmanager
def alone(settings: Settings, name: str, *, past_the_brake: bool = False) -> Iterator[None]:
    """Hold the one place from which a job of this name is started.

    Raises:
        StreamhouseError: it runs already, or the brake is pulled and nobody said that it is to be passed.

    """
    settings.jobs_folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(settings.jobs_folder / f"begin-{name}.lock", timeout=_OTHER_START_SECONDS):
            if running := flink_rest.running(settings, name):
                message = f"{name} runs already as job {running}; one copy of a job runs at a time: stop that one first"
                raise StreamhouseError(message)
            if not past_the_brake:
                brakes.refuse_while_pulled(settings, name)
            yield
    except Timeout as error:
        message = f"another start of {name} is under way for {_OTHER_START_SECONDS:.0f} s; see `./streamhouse status`"
        raise StreamhouseError(message) from error


def score_events(settings: Settings, *, accept_loss: bool) -> Begin:
    """Behind the answers in predictions and dead letters; what lies beyond the first missing one and has an answer gets no second.

    Raises:
        RecordsCutError: see `after_the_cut`.
        KafkaException: the broker does not answer.

    """
    first, known = first_unanswered(settings, answered(settings))
    wanted = {(SOURCE_TOPIC, partition): offset for partition, offset in first.items()}
    offsets = after_the_cut(settings, wanted, "answered", accept_loss=accept_loss)
    if cut := {partition: (first[partition], low) for (_, partition), low in offsets.items() if low > first[partition]}:
        first, known = first_unanswered(settings, without(settings, known, cut))
        offsets = {(SOURCE_TOPIC, partition): offset for partition, offset in first.items()}
    beyond = {partition: ranges[ranges[:, 0] >= first[partition]] for partition, ranges in known.ranges.items()}
    count = sum(int((ranges[:, 1] - ranges[:, 0]).sum()) for ranges in known.ranges.values())
    return Begin(
        offsets,
        {partition: ranges for partition, ranges in beyond.items() if len(ranges)},
        f"{count:,} offsets of {SOURCE_TOPIC} are answered",
    )


def archive_topics(settings: Settings, *, accept_loss: bool) -> Begin:
    """As `_behind_tables`."""
    return _behind_tables(settings, "archive_topics", accept_loss=accept_loss)


def archive_shop(settings: Settings, *, accept_loss: bool) -> Begin:
    """As `_behind_tables`."""
    return _behind_tables(settings, "archive_shop", accept_loss=accept_loss)


def _behind_tables(settings: Settings, job: str, *, accept_loss: bool) -> Begin:
    """Behind the last record of each partition in each table: a snapshot holds all that a checkpoint read, or nothing of it.

    A loss that is accepted is noted: the tables do not tell it from ends of transactions.

    Raises:
        RecordsCutError: see `after_the_cut`.
        KafkaException: the broker does not answer.

    """
    from lakehouse.read import log_ends

    wanted: dict[tuple[str, int], int] = {}
    count = 0
    for name in ARCHIVED[job]:
        topic = load_contracts().topics[name]
        ends = log_ends(settings, topic.archive)
        wanted |= {(name, partition): ends.get(partition, (0, 0))[1] for partition in range(topic.partitions)}
        count += sum(end for _, end in ends.values())
    offsets = after_the_cut(settings, wanted, "archived", accept_loss=accept_loss)
    if cut := {place: low for place, low in offsets.items() if low > wanted[place]}:
        last = end_offsets(settings, cut)
        accepted_losses.note(settings, job, [Loss(*place, wanted[place], low, last[place]) for place, low in cut.items()])
    return Begin(offsets, {}, f"the tables hold the topics up to {count:,} offsets")


BEGINS: Mapping[str, Callable[..., Begin]] = {
    "score_events": score_events,
    "archive_topics": archive_topics,
    "archive_shop": archive_shop,
}


def after_the_cut(settings: Settings, wanted: Offsets, done: str, *, accept_loss: bool) -> dict[tuple[str, int], int]:
    """The wanted offsets, or the topic's first one where retention has taken records that were not `done` yet.

    Raises:
        RecordsCutError: it has, and nobody said that this is accepted.
        OtherTopicError: a topic does not reach that far. Its next records would pass for those that are done already.

    """
    offsets, lows, ends = {}, first_offsets(settings, wanted), end_offsets(settings, wanted)
    for (topic, partition), offset in wanted.items():
        if offset > (end := ends[topic, partition]):
            message = (
                f"topic {topic}, partition {partition}: expected record {offset} as the next to be {done}, got a topic that ends at {end}:"
                " it was made anew or lost records, and what comes now would pass for what is done; send to a topic of another name, or"
                " begin anew with `./streamhouse reset`"
            )
            raise OtherTopicError(message)
        low = lows[topic, partition]
        if offset < low and not accept_loss:
            message = (
                f"topic {topic}, partition {partition}: expected record {offset} as the next to be {done}, got a topic that begins at"
                f" {low}: retention took what lies between; start the job with --accept-loss to go on behind it"
            )
            raise RecordsCutError(message)
        offsets[topic, partition] = max(offset, low)
    return offsets
