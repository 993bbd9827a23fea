"""The service that tells users how their orders ended: `python -m jobs.shop.notification`.

A notification is a line of JSON at the end of `shop/notifications.jsonl` in the state folder, where a mail program would stand. Each is
written at least once: lines are on disk before the group's offsets are committed, and after a crash between the two the file's last 2,000
lines tell which events were written already. So one crash, or many in a row, doubles nothing; a group that is reset further back than
that tells users again.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from infra.config import Settings
from infra.contracts.codec import rfc3339
from jobs.patterns.recorded import Recorded
from jobs.patterns.subscriber import Batch, Place, Subscriber
from jobs.serve import beating
from jobs.shop.listening import run
from jobs.shop.messages import OrderCancelled, OrderShipped

GROUP = "notification"
HEARS = (OrderShipped, OrderCancelled)
REMEMBERED = 2_000
"""So many of the last lines are looked at; four batches."""
_TAIL_BYTES = 4 << 20  # more than so many lines take


class Notifying:
    """Writes notifications to a file; several processes of the group may share it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._written: dict[str, None] = {}  # the latest

    def begin(self, held: Mapping[Place, tuple[int, int]]) -> Mapping[Place, int]:
        """Look at what was written, by whichever process; the group's offsets alone say what is next."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.touch()
        self._written = dict.fromkeys(_written(self._file))
        return {}

    def handle(self, batch: Batch) -> None:
        """Write what was not written yet, and wait until it is on disk.

        Raises:
            OSError: the file takes nothing.

        """
        new = [event for event in batch.events if event.envelope.id not in self._written]
        if new:
            with self._file.open("ab") as file:
                # a line that was cut off by a crash stays a line of its own, which no reader takes for a notification
                cut = file.tell() > 0 and _last_byte(self._file) != b"\n"
                file.write(b"\n" * cut + "".join(f"{json.dumps(notification(event))}\n" for event in new).encode())
                file.flush()
                os.fsync(file.fileno())
        for event in new:
            self._written[event.envelope.id] = None
            if len(self._written) > REMEMBERED:
                del self._written[next(iter(self._written))]


def notification(event: Recorded) -> dict[str, str]:
    """What a user is told. `eventId` names the event, so whoever passes it on can tell a repetition."""
    data = event.envelope.data
    assert isinstance(data, OrderShipped | OrderCancelled)
    told = {"eventId": event.envelope.id, "at": rfc3339(event.envelope.at), "userId": data.user_id, "orderId": data.order_id}
    if isinstance(data, OrderShipped):
        return told | {"status": "shipped", "text": f"Your order {data.order_id} is on its way."}
    back = f" {data.refunded_cents / 100:.2f} went back into your wallet." if data.refunded_cents else ""
    return told | {"status": "cancelled", "text": f"Your order {data.order_id} was cancelled: {data.reason}.{back}"}


def _written(file: Path) -> list[str]:
    """The ids in the last lines; what is no notification, as a line that a crash cut off, is passed over."""
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - _TAIL_BYTES))
        lines = opened.read().split(b"\n")[-REMEMBERED - 1 :]
    found = []
    for line in lines:
        try:
            found.append(str(json.loads(line)["eventId"]))
        except (ValueError, KeyError, TypeError):
            continue
    return found


def _last_byte(file: Path) -> bytes:
    with file.open("rb") as opened:
        opened.seek(-1, os.SEEK_END)
        return opened.read(1)


def file_of(settings: Settings) -> Path:
    """Where the notifications lie."""
    return settings.shop_folder / "notifications.jsonl"


def subscriber(settings: Settings) -> Subscriber:
    """The service."""
    return Subscriber(settings, GROUP, HEARS, Notifying(file_of(settings)), beat=beating(settings, GROUP))


if __name__ == "__main__":
    sys.exit(run(subscriber))
