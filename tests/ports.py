"""Ports for the services of a test, so that two runs of the tests side by side, and a user's own stack, are left alone."""

from __future__ import annotations

import os
import random
import socket

# below the range from which Linux takes the ports of outgoing connections, which could hold one while its service restarts
_FIRST, _LAST = 20_000, 32_000


def free_ports(count: int) -> list[str]:
    """So many ports of loopback on which nobody listens."""
    found: list[str] = []
    for port in random.Random(os.getpid()).sample(range(_FIRST, _LAST), 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(str(port))
        if len(found) == count:
            return found
    raise AssertionError("no free ports")
