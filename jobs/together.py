"""All jobs that are named, one after the other, from one program of Flink's client: it starts as long for two jobs as for one.

    flink run -py jobs/together.py score_events archive_topics      (or: ./streamhouse submit score_events archive_topics)

A job that must not start leaves the others their start.
"""

from __future__ import annotations

import sys

from jobs import archive_shop, archive_topics, score_events

_START = {module.NAME: module.start for module in (score_events, archive_topics, archive_shop)}

if __name__ == "__main__":
    names = [word for word in sys.argv[1:] if not word.startswith("-")]
    if not names or (unknown := [name for name in names if name not in _START]):
        sys.exit(f"error: expected names among {', '.join(_START)}, got {' '.join(unknown) if names else 'none'}")
    started = [_START[name]() for name in names]
    sys.exit(not all(started))
