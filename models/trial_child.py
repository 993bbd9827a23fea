"""The child process of a trial: takes its limits, then loads and tries the model of one folder and prints what came of it as JSON.

    python -m models.trial_child FOLDER ADDRESS_SPACE CPU_SECONDS SECONDS [--record]

Its last line is {"refused": [thing, fault, remedy]}, {"failed": what Python said} or {"scores": [...]}; with `--record` the scores of
the golden rows, which then need none yet. Whatever else it does, as crash, is for `models.trial` to say.
"""

from __future__ import annotations

import json
import math
import resource
import signal
import sys
from pathlib import Path
from typing import Any

STACK = 4 * 1024 * 1024
"""Bytes; half of what a thread of the job has, so that a model which recurses falls here first."""


def take_limits(cpu_seconds: int, seconds: float) -> None:
    """No core file, no file at all, a small stack, so much CPU, and an end also when the parent is gone. The kernel enforces each."""
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_STACK, STACK)
    _limit(resource.RLIMIT_CPU, cpu_seconds, beyond=1)
    for kind in (signal.SIGALRM, signal.SIGXCPU):
        signal.signal(kind, signal.SIG_DFL)  # what started this process may ignore them
    signal.alarm(math.ceil(seconds) + 1)


def examine(folder: Path, address_space: int, record: bool) -> list[float]:
    """Load the model of `folder` as the job would, then try it; the scores of its golden rows when they are to be recorded.

    Raises:
        ModelRefused: it may not be published or used.

    """
    from models import golden
    from models.manifest import load_manifest
    from models.scorer import load_scorer, load_unasked
    from models.trial_rows import check_probabilities, check_scores

    # not before the imports: what they take differs by machine, and they are no part of the model
    _limit(resource.RLIMIT_AS, address_space)
    if not record:
        check_scores(load_scorer(folder))
        return []
    scorer = load_unasked(load_manifest(folder), folder)
    check_scores(scorer)
    rows = golden.read_golden(scorer.manifest, folder)
    n = len(next(iter(rows.columns.values()), []))
    scores = scorer.ask(golden.tensor(scorer.manifest, rows, n))
    check_probabilities(scorer.manifest, scores, "golden row")
    return [float(score) for score in scores]


def main(arguments: list[str]) -> None:
    """Examine one model; every answer is a line of JSON and exit status 0."""
    folder, address_space, cpu_seconds, seconds, *flags = arguments
    take_limits(int(cpu_seconds), float(seconds))
    answer: dict[str, Any]
    try:
        answer = {"scores": examine(Path(folder), int(address_space), "--record" in flags)}
    except Exception as error:  # whatever a hostile file can make Python raise is a reason
        parts = getattr(error, "parts", None)
        answer = {"refused": parts} if parts else {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    print(json.dumps(answer), flush=True)


def _limit(kind: int, soft: int, beyond: int = 0) -> None:
    _, hard = resource.getrlimit(kind)
    allowed = [value for value in (soft + beyond, hard) if value != resource.RLIM_INFINITY]
    resource.setrlimit(kind, (min(soft, *allowed), min(allowed)))


if __name__ == "__main__":
    main(sys.argv[1:])
