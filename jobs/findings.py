"""What a comparison found wrong: each with its place and a sentence; the first of each kind in full, the rest counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

KEPT = 40
"""How many findings of one kind and place of finding are told in full."""


@dataclass(frozen=True, order=True)
class Finding:
    """One record, file or range that refutes the claim. `where`: the topic or table; `kind`: a code to count by."""

    where: str
    kind: str
    partition: int
    offset: int | None
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, order=True)
class Unproven:
    """A range of which nothing can be said any more, and why."""

    where: str
    partition: int
    first: int
    last: int
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass
class Findings:
    """A collection that stays small: `counts` holds all, `kept` the first of each kind."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    kept: list[Finding] = field(default_factory=list)

    def add(self, finding: Finding, count: int = 1) -> None:
        """One finding, or one that stands for `count` of its kind."""
        of = finding.where, finding.kind
        if self.counts[of] < KEPT:
            self.kept.append(finding)
        self.counts[of] += count

    def extend(self, findings: Iterable[Finding]) -> None:
        """Many findings."""
        for finding in findings:
            self.add(finding)

    def merge(self, others: Sequence[Findings]) -> None:
        """Take over what other workers found."""
        for other in others:
            for finding in other.kept:
                of = finding.where, finding.kind
                if sum(kept.where == of[0] and kept.kind == of[1] for kept in self.kept) < KEPT:
                    self.kept.append(finding)
            self.counts.update(other.counts)

    @property
    def total(self) -> int:
        """How many there are in all."""
        return sum(self.counts.values())
