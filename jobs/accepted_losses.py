"""What retention took before a job archived it, and a person accepted (`--accept-loss`): whoever reads the tables later has to know."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import astuple, dataclass

from infra.config import Settings
from infra.whole_files import write_whole


@dataclass(frozen=True)
class Loss:
    """Offsets `first <= offset < end` of a topic partition that no table has. `topic_end`: where the topic ended when that was accepted."""

    topic: str
    partition: int
    first: int
    end: int
    topic_end: int

    @property
    def may_be_a_mark(self) -> bool:
        """Whether it is one offset of a topic that held nothing any more.

        Behind the last record of a transaction lies the broker's mark; so where all is written in transactions, that is all it was.
        """
        return self.end - self.first == 1 and self.topic_end == self.end


def note(settings: Settings, job: str, losses: Iterable[Loss]) -> None:
    """Remember what a start of a job left out; one start of a job is under way at a time."""
    known = _read(settings, job)
    if new := [loss for loss in losses if loss not in known]:
        write_whole(settings.jobs_folder / f"losses-{job}.json", json.dumps([astuple(loss) for loss in known + new]))


def accepted(settings: Settings, job: str, place: tuple[str, int], first: int, end: int) -> list[Loss]:
    """What a job left out of one topic partition between two offsets."""
    return [loss for loss in _read(settings, job) if (loss.topic, loss.partition) == place and loss.first < end and loss.end > first]


def _read(settings: Settings, job: str) -> list[Loss]:
    file = settings.jobs_folder / f"losses-{job}.json"
    return [Loss(*values) for values in json.loads(file.read_text("utf-8"))] if file.exists() else []
