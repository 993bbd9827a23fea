"""What a replay asks of its processes, and what they were begun with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from infra.config import Settings
from jobs import processes
from jobs.published_models import PublishedModels
from jobs.replay.chosen import Chosen, Span
from jobs.replay.published import COLUMNS, published
from jobs.replay.served import Outcome, replay_served
from jobs.replay.table_source import stretches
from jobs.scoring_parts import models_folder, rules
from jobs.scoring_path import Rules
from lakehouse.tags import Snapshots

_AT_LEAST = 50_000  # offsets: less is read sooner than it is handed out


@dataclass(frozen=True)
class Part:
    """Some offsets of a partition."""

    partition: int
    span: Span


def parts_of(spans: Mapping[int, Span], hands: int) -> list[Part]:
    """The spans cut so that each of so many hands has something to do to the end; the largest first."""
    total = sum(end - first for first, end in spans.values())
    size = max(_AT_LEAST, total // (4 * max(hands, 1)) + 1)
    parts = [Part(p, (at, min(at + size, end))) for p, (first, end) in sorted(spans.items()) for at in range(first, end, size)]
    return sorted(parts, key=lambda part: part.span[0] - part.span[1])


@dataclass(frozen=True)
class _Worker:
    settings: Settings
    snapshots: Snapshots
    what: Chosen
    batch: int
    rules: Rules
    models: PublishedModels


_worker: _Worker


def begin(settings: Settings, snapshots: Snapshots, what: Chosen, batch: int) -> None:
    """Begin this process; `batch`: rows in one call of a model."""
    global _worker
    _worker = _Worker(settings, snapshots, what, batch, rules(), PublishedModels(models_folder(settings)))


def replay_part(part: Part) -> Outcome:
    """One part of the archive as it was served."""
    outcome, done = Outcome(), part.span[0]
    for one, last in _replayed(part):
        outcome.merge([one])
        processes.advance(last + 1 - done)
        done = last + 1
    processes.advance(part.span[1] - done)
    return outcome


def _replayed(part: Part) -> Iterator[tuple[Outcome, int]]:
    do = _worker
    for records, rows in stretches(do.settings, do.snapshots, part.partition, part.span, do.what, COLUMNS):
        last = int(records.offset[-1]) if len(records.offset) else part.span[0] - 1
        yield replay_served(part.partition, records, do.rules, published(rows), do.models.find, do.batch), last
