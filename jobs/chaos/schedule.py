"""Which fault comes when: a function of the seed alone, so that a run can be repeated as far as processes allow."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Draw:
    """One fault. `point`: the moment of the job's work at which it strikes; `pause`: seconds of quiet work before it.

    `hurried`: the next one does not wait until the job has caught up, so that it can meet a recovery. `seed`: of the fault's own choices.
    """

    fault: str
    point: str
    pause: float
    hurried: bool
    seed: int


def schedule(seed: int, weights: Mapping[str, int], points: Mapping[str, Sequence[str]]) -> Iterator[Draw]:
    """Faults without end. `weights`: how often each comes beside the others; `points`: those that suit a fault, others strike at once."""
    rng = random.Random(seed)
    names = sorted(weights)
    shares = [weights[name] for name in names]
    while True:
        (fault,) = rng.choices(names, shares)
        point = rng.choice(["at_random", *points.get(fault, ())])
        yield Draw(fault, point, pause=round(rng.uniform(0.5, 4.0), 3), hurried=rng.random() < 0.2, seed=rng.randrange(2**32))
