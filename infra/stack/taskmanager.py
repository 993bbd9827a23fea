"""Start Flink's TaskManager in place of this process, after the Python workers that an earlier one left behind are ended.

A killed TaskManager cannot end its workers: they would hold 300 MB each, and write until the fence of the store stops them.
"""

from __future__ import annotations

import os

from infra.config import load_settings
from infra.stack import supervise
from infra.stack.services import flink_home


def main() -> None:
    """End orphans, then become the TaskManager: its pid is the one that the supervisor knows."""
    supervise.end(supervise.orphans(load_settings()), 0)
    program = str(flink_home() / "bin" / "taskmanager.sh")
    os.execv(program, [program, "start-foreground"])


if __name__ == "__main__":
    main()
