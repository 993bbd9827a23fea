"""What the meter measured since it was last cleared: a file of the state folder, which `status` reads and no restart forgets."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock

from infra.config import Settings
from infra.whole_files import write_whole

KEPT = 5
"""How many differences of one field are kept with all that is known of them; the rest are counted."""
_LATE_SECONDS = 180.0  # a meter further behind says so


@dataclass(frozen=True)
class Differs:
    """One field of one prediction: what was served, and what the log gives."""

    field: str
    user: str
    partition: int
    offset: int
    served: str
    recomputed: str
    cause: str

    @property
    def sentence(self) -> str:
        """All of it."""
        return f"{self.field}: {self._place}; {self.cause}"

    @property
    def short(self) -> str:
        """Without the cause."""
        return f"{self.field} ({self._place})"

    @property
    def _place(self) -> str:
        return f"user {self.user}, action {self.partition}:{self.offset}, served {self.served}, the log gives {self.recomputed}"


@dataclass
class Measured:
    """Counts of predictions; `counts` of differing fields by their name, `first` the first differences of each."""

    since_ms: int = 0
    measured: int = 0
    equal: int = 0
    not_measured: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    first: list[Differs] = field(default_factory=list)

    def merge(self, other: Measured) -> list[Differs]:
        """Take over what was measured since; answers those of its differences that are kept."""
        self.measured += other.measured
        self.equal += other.equal
        self.not_measured += other.not_measured
        self.counts.update(other.counts)
        there, kept = Counter(one.field for one in self.first), []
        for one in other.first:
            if there[one.field] < KEPT:
                there[one.field] += 1
                kept.append(one)
        self.first += kept
        return kept

    @property
    def differ(self) -> int:
        """How many predictions are not as the log gives them."""
        return self.measured - self.equal

    @property
    def alarm(self) -> str | None:
        """A sentence that names a feature; None where all is equal."""
        if not self.differ:
            return None
        named = sorted(self.first, key=lambda one: ":" not in one.field)  # a feature rather than the score that follows from it
        said = f"{self.differ:,} of {self.measured:,} measured predictions differ"
        return f"{said}: {named[0].short}" if named else said


@dataclass(frozen=True)
class Doing:
    """What the meter does at `ms` since 1970: how many seconds it is behind the log, and why it measures nothing, if so."""

    ms: int
    behind: float = 0.0
    waits: str = ""


@dataclass(frozen=True)
class Kept:
    """The file's content."""

    measured: Measured
    doing: Doing

    def as_dict(self) -> dict[str, Any]:
        """For programs, and for the file."""
        counts = dict(sorted(self.measured.counts.items()))
        return {**asdict(self.measured), "counts": counts, "differ": self.measured.differ, "doing": asdict(self.doing)}

    def line(self, every: int, now_ms: int) -> str:
        """For people, while nothing differs."""
        behind = max(self.doing.behind, (now_ms - self.doing.ms) / 1000)
        late = f"; the meter is {behind / 60:.0f} minutes behind" if behind > _LATE_SECONDS else ""
        if self.doing.waits:
            return f"nothing is measured: {self.doing.waits}{late}"
        if not self.measured.measured:
            return f"no prediction of every {_nth(every)} user to measure yet{late}"
        return f"{self.measured.measured:,} predictions (every {_nth(every)} user) are as the log gives them{late}"


def known(settings: Settings) -> Kept | None:
    """What was measured; None where nothing was yet."""
    try:
        held = json.loads(_file(settings).read_text("utf-8"))
        first = [Differs(**one) for one in held["first"]]
        counted = {name: int(held[name]) for name in ("since_ms", "measured", "equal", "not_measured")}
        return Kept(Measured(**counted, counts=Counter(held["counts"]), first=first), Doing(**held["doing"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # a file that is spoilt begins anew


def add(settings: Settings, found: Measured, doing: Doing) -> list[Differs]:
    """Add to what was measured, and say what the meter does; answers the new differences that are kept.

    Raises:
        OSError: it could not be written; nothing was added.

    """
    with _alone(settings):
        held = known(settings)
        total = Measured(since_ms=doing.ms) if held is None else held.measured
        kept = total.merge(found)
        write_whole(_file(settings), json.dumps(Kept(total, doing).as_dict()))
    return kept


def clear(settings: Settings, now_ms: int) -> Measured:
    """Forget all that was measured and count anew from now on; answers what was forgotten."""
    with _alone(settings):
        held = known(settings)
        doing = Doing(now_ms) if held is None else held.doing
        write_whole(_file(settings), json.dumps(Kept(Measured(since_ms=now_ms), doing).as_dict()))
    return Measured() if held is None else held.measured


def _nth(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number % 100 in (11, 12, 13) else ending}"


def _alone(settings: Settings) -> BaseFileLock:
    settings.jobs_folder.mkdir(parents=True, exist_ok=True)
    return FileLock(settings.jobs_folder / "meter.lock")


def _file(settings: Settings) -> Path:
    return settings.jobs_folder / "meter.json"
