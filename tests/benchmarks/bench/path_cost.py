"""What an action costs the scoring path, in a process that does nothing else: tasks come as lines of JSON, costs go as lines of JSON.

python -m tests.benchmarks.bench.path_cost WINDOWS VISIT_WINDOWS     with the settings of the environment

The features are counts by window. With other numbers of windows than the four and two that there are it runs the same code as if
`features/activity.py` declared so many.
"""

from __future__ import annotations

import dataclasses
import gc
import sys

import orjson

from features import activity
from features.activity import DAY, HOUR, Window


def main() -> None:
    """Answer until there are no more tasks."""
    windows, visit_windows = map(int, sys.argv[1:])
    declare(windows, visit_windows)
    # what reads the features' names as it is imported must find these
    from tests.benchmarks.bench.path import Path, Task

    path = Path()
    gc.collect()
    gc.freeze()  # as a worker does when it has started
    print(len(activity.FEATURES), flush=True)
    for line in sys.stdin:
        costs = path.costs(Task(**orjson.loads(line)))
        sys.stdout.buffer.write(orjson.dumps([dataclasses.asdict(cost) for cost in costs]) + b"\n")
        sys.stdout.buffer.flush()


def declare(windows: int, visit_windows: int) -> None:
    """See that the features are of so many windows, visits of so many: those that there are first, the longest always, then hours."""
    if (windows, visit_windows) == (len(activity.WINDOWS), len(activity.VISIT_WINDOWS)):
        return
    *short, longest = activity.WINDOWS
    taken = {window.length for window in activity.WINDOWS}
    more = [Window(f"{hours}h", hours * HOUR, HOUR) for hours in range(2, 7 * DAY // HOUR) if hours * HOUR not in taken]
    chosen = (*[*short, *more][: windows - 1], longest)
    visits = tuple(window.name for window in chosen[len(chosen) - visit_windows :])
    counts = (*(f"{what}_{window.name}" for window in chosen for what in activity.COUNTED), *(f"visits_{name}" for name in visits))
    vars(activity).update(WINDOWS=chosen, VISIT_WINDOWS=visits, COUNTS=counts, FEATURES=counts + activity.SECONDS)


def features_of(windows: int, visit_windows: int) -> int:
    """How many features that is."""
    return windows * len(activity.COUNTED) + visit_windows + len(activity.SECONDS)


if __name__ == "__main__":
    main()
