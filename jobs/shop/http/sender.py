"""Orders' commands on their way to their owner, and its answers: so many at once, each for so long."""

from __future__ import annotations

import asyncio

from confluent_kafka import KafkaException

from jobs.patterns.commands import Commands
from jobs.patterns.event_store import Reply
from jobs.patterns.message import Message
from jobs.shop.http.problems import Problem

_AGAIN = "whether it was accepted is not known; send the same again{how}: it is accepted once"


class Sender:
    """Belongs to one event loop. Until `commands` is set the broker has not been reached."""

    def __init__(self, most: int, seconds: float) -> None:
        self.commands: Commands | None = None
        self._most, self._seconds, self._under_way = most, seconds, 0

    async def ask(self, command: Message, command_id: str, *, key: str | None, expected_version: int | None = None) -> Reply:
        """Give the owner a command and hear its reply. `key`: with which Idempotency-Key its sender may send it again; None: with none.

        Raises:
            Problem: there are too many, or no answer came.

        """
        about = {"order_id": command.aggregate_id, "command_id": command_id, "idempotency_key": key}
        if self.commands is None:
            raise Problem(503, "broker_away", "the broker was not reached yet; nothing was sent, send it again", after=2, about=about)
        if self._under_way >= self._most:
            text = f"{self._most} requests wait for the order service already; nothing was sent, send it again"
            raise Problem(503, "busy", text, after=1, about=about)
        again = _AGAIN.format(how="" if key is None else f" with Idempotency-Key: {key}")
        self._under_way += 1
        try:
            future = asyncio.wrap_future(self.commands.begin(command, command_id, expected_version=expected_version))
            return await asyncio.wait_for(future, self._seconds)
        except TimeoutError:
            text = f"the order service did not answer within {self._seconds:g} s; {again}"
            raise Problem(503, "no_answer", text, after=5, about=about) from None
        except KafkaException as error:
            raise Problem(503, "broker_away", f"the broker says: {error.args[0].str()}; {again}", after=5, about=about) from None
        finally:
            self._under_way -= 1
