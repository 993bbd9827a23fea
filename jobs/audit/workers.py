"""What an audit asks of its processes, and what they were begun with."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from infra.config import Settings
from jobs import processes
from jobs.audit.answers import out_of_order
from jobs.audit.files import Measured, measure
from jobs.audit.join import Expect, Joined, join
from jobs.audit.pins import ANSWERS, PinnedTopic
from jobs.audit.spill import Spill
from jobs.audit.strand import Strand, Work, follow
from jobs.findings import Findings


@contextlib.contextmanager
def begun(settings: Settings, count: int) -> Iterator[tuple[Executor, Callable[[], int]]]:
    """As `jobs.processes.begun`, with a temporary folder that they share; what they count are offsets."""
    with (
        tempfile.TemporaryDirectory(prefix="streamhouse-audit-") as folder,
        processes.begun(count, _begin, settings, folder) as pool_and_passed,
    ):
        yield pool_and_passed


@dataclass(frozen=True)
class _Worker:
    """What a process was begun with."""

    settings: Settings
    spill: Spill


_worker: _Worker


def _begin(settings: Settings, folder: str) -> None:
    global _worker
    _worker = _Worker(settings, Spill(Path(folder)))


def follow_strand(work: Work) -> Strand:
    """As `jobs.audit.strand.follow`."""
    return follow(_worker.settings, work, _worker.spill, processes.advance)


def measure_table(topic: PinnedTopic) -> Measured:
    """As `jobs.audit.files.measure`."""
    return measure(_worker.settings, topic)


def find_disorder(topic: str, partition: int) -> Findings:
    """As `jobs.audit.answers.out_of_order`, of the answers that were spilt."""
    return out_of_order(topic, lambda: _worker.spill.answers_in(topic, partition))


def count_repeated(part: int) -> int:
    """How many event ids of a part were spilt before."""
    return _worker.spill.repeated_events(part)


def join_bucket(expect: Expect, bucket: int, wanted: frozenset[int]) -> Joined:
    """As `jobs.audit.join.join`, of the actions and answers that were spilt."""
    answers = {topic: _worker.spill.answers(topic, expect.partition, bucket) for topic in ANSWERS}
    return join(expect, _worker.spill.actions(expect.partition, bucket), answers, wanted)
