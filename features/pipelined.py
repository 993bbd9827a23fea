"""Many commands to Redis in one go, and their replies as a list, with nothing done in Python for each of them.

redis-py's own pipeline handles each command and each reply in Python, which takes ten times as long as Redis needs to answer.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import hiredis
import redis

_BYTES = 1 << 18


class Pipelined:
    """One connection, opened when it is first needed and again after a failure; for one thread."""

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self._where, self._timeout = (host, port), timeout
        self._socket: socket.socket | None = None
        self._reader = hiredis.Reader()

    def ask(self, commands: Callable[[], Iterator[bytes]], count: int) -> list[Any]:
        """The replies to `count` commands, in their order. Commands that only read: they may be sent twice where a connection was lost.

        Each piece of them is sent as soon as it is made, so Redis works at it while the next one is made. It holds the replies until they
        are read, which is not before all commands are sent.

        Raises:
            redis.TimeoutError, redis.ConnectionError: no answer.
            redis.ResponseError: one of the replies is an error; the first one.

        """
        reused = self._socket is not None
        try:
            replies = self._asked(commands, count)
        except TimeoutError as error:
            self.close()
            message = f"redis at {self._where[0]}:{self._where[1]} did not answer within {self._timeout:g} s"
            raise redis.TimeoutError(message) from error
        except OSError as error:
            self.close()
            if reused:  # it was closed at the other end since the last time
                return self.ask(commands, count)
            message = f"redis at {self._where[0]}:{self._where[1]} is away: {error}"
            raise redis.ConnectionError(message) from error
        except hiredis.ProtocolError as error:
            self.close()
            message = f"{self._where[0]}:{self._where[1]} does not answer as redis does: {error}"
            raise redis.ConnectionError(message) from error
        except BaseException:
            self.close()  # replies that were not read would be taken for those to the next question
            raise
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                raise redis.ResponseError(str(reply))
        return replies

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._reader = None, hiredis.Reader()

    def _asked(self, commands: Callable[[], Iterator[bytes]], count: int) -> list[Any]:
        if self._socket is None:
            self._socket = socket.create_connection(self._where, self._timeout)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in commands():
            self._socket.sendall(piece)
        replies: list[Any] = []
        read = self._reader.gets
        while len(replies) < count:
            if (reply := read()) is not False:
                replies.append(reply)
                continue
            got = self._socket.recv(_BYTES)
            if not got:
                raise ConnectionResetError("it closed the connection")
            self._reader.feed(got)
        return replies
