"""A TCP proxy on loopback between Kafka's clients and the broker, with weather: delay, loss of answers, silence, no way through.

It knows where a request begins and of which kind it is, so that it can hold back the two that decide over a transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType

HOST = "127.0.0.1"
PRODUCE, ADD_PARTITIONS, END_TRANSACTION = 0, 24, 26  # Kafka's numbers of requests (api keys)
_CHUNK = 1 << 16
_GLANCE = 0.02  # seconds between two looks at the weather while nothing may pass


@dataclass(frozen=True)
class Weather:
    """What happens to what passes. `delay` in seconds, before each request of the kinds `delayed` (empty: before each of any kind).

    `answers_lost`: the request of such a kind reaches the broker, and the connection ends before its answer comes back.
    `silent`: connections stay open and nothing passes, as when a cable is pulled. `cut`: every connection ends, none is taken.
    """

    delay: float = 0.0
    delayed: frozenset[int] = frozenset()
    answers_lost: frozenset[int] = frozenset()
    silent: bool = False
    cut: bool = False


FINE = Weather()


@dataclass(eq=False)
class _Connection:
    """One client's way to the broker; `doomed`: its next answer is not to arrive."""

    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    doomed: bool = False

    def end(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


class Proxy:
    """Listens on `port` and passes on to `target`, both on loopback. Use `with`; the weather may be set from any thread.

    `struck` counts the requests that met a delay or whose answer was lost.
    """

    def __init__(self, port: int, target: int) -> None:
        self.struck = 0
        self._port, self._target, self._weather = port, target, FINE
        self._connections: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, HOST, self._port), self._loop).result(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @contextlib.contextmanager
    def weather(self, weather: Weather) -> Iterator[None]:
        """As long as the block runs; fine again afterwards."""
        self._set(weather)
        try:
            yield
        finally:
            self._set(FINE)

    def _set(self, weather: Weather) -> None:
        self._weather = weather
        if weather.cut:
            self._loop.call_soon_threadsafe(self._end_all)

    def _end_all(self) -> None:
        for connection in self._connections:
            connection.end()

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        await asyncio.sleep(0)  # a connection that was taken this moment begins, or cancelling its task would leave its socket open
        self._end_all()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection([writer])
        self._connections.add(connection)
        try:
            # whoever is away, the client sees a connection that ends
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                if not self._weather.cut:
                    answers, onward = await asyncio.open_connection(HOST, self._target)
                    connection.writers.append(onward)
                    ways = [
                        asyncio.ensure_future(way)
                        for way in (self._there(reader, onward, connection), self._back(answers, writer, connection))
                    ]
                    _, rest = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                    for way in rest:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)
        finally:
            connection.end()
            self._connections.discard(connection)

    async def _there(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: _Connection) -> None:
        """Requests: a size of four bytes, the kind of two, the rest."""
        while True:
            head = await reader.readexactly(6)
            size, kind = struct.unpack(">ih", head)
            await self._passable()
            weather = self._weather
            if weather.delay and (not weather.delayed or kind in weather.delayed):
                self.struck += 1
                await asyncio.sleep(weather.delay)
            if kind in weather.answers_lost:
                self.struck += 1
                connection.doomed = True
            writer.write(head)
            left = size - 2
            while left:
                chunk = await reader.read(min(left, _CHUNK))
                if not chunk:
                    return
                writer.write(chunk)
                await writer.drain()
                left -= len(chunk)

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: _Connection) -> None:
        while chunk := await reader.read(_CHUNK):
            await self._passable()
            if connection.doomed:
                return
            writer.write(chunk)
            await writer.drain()

    async def _passable(self) -> None:
        while self._weather.silent:
            await asyncio.sleep(_GLANCE)
