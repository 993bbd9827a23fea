"""The proxy passes everything on in fine weather, and in bad weather exactly what it says."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from infra.stack.apart import free_ports
from jobs.chaos.proxy import END_TRANSACTION, PRODUCE, Proxy, Weather

SECONDS = 30.0


class Echo:
    """A server that answers each request with itself."""

    def __init__(self, port: int) -> None:
        self.heard: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError):
            while True:
                request = take(connection)
                self.heard.append(request)
                connection.sendall(request)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for one in (self._listener, *self._open):
            one.close()


def request(kind: int, rest: bytes = b"rest") -> bytes:
    return struct.pack(">ih", 2 + len(rest), kind) + rest


def take(connection: socket.socket) -> bytes:
    """One request or answer, whole."""
    head = exactly(connection, 4)
    return head + exactly(connection, int.from_bytes(head, "big"))


def exactly(connection: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        chunk = connection.recv(size - len(got))
        if not chunk:
            raise EOFError
        got += chunk
    return got


@pytest.fixture
def between() -> Iterator[tuple[Echo, Proxy, int]]:
    port, target = map(int, free_ports(2))
    echo = Echo(target)
    with Proxy(port, target) as proxy:
        yield echo, proxy, port
    echo.close()


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=SECONDS)


def ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_what_is_sent_arrives_and_its_answer_comes_back(between: tuple[Echo, Proxy, int]) -> None:
    echo, proxy, port = between
    sent = [request(kind, bytes([kind]) * size) for kind, size in ((PRODUCE, 2_000_000), (END_TRANSACTION, 3), (18, 0))]
    with connected(port) as client:
        for one in sent:
            client.sendall(one)
            assert take(client) == one
    assert echo.heard == sent
    assert proxy.struck == 0


def test_two_clients_do_not_mix(between: tuple[Echo, Proxy, int]) -> None:
    _, _, port = between
    with connected(port) as one, connected(port) as two:
        one.sendall(request(1, b"one"))
        two.sendall(request(1, b"two"))
        assert take(two) == request(1, b"two")
        assert take(one) == request(1, b"one")


def test_only_the_named_kinds_are_held_back(between: tuple[Echo, Proxy, int]) -> None:
    _, proxy, port = between
    with connected(port) as client, proxy.weather(Weather(delay=0.5, delayed=frozenset({END_TRANSACTION}))):
        took = {}
        for kind in (PRODUCE, END_TRANSACTION):
            started = time.monotonic()
            client.sendall(request(kind))
            take(client)
            took[kind] = time.monotonic() - started
    assert took[END_TRANSACTION] >= 0.5 > took[PRODUCE]
    assert proxy.struck == 1


def test_every_kind_is_held_back_when_none_is_named(between: tuple[Echo, Proxy, int]) -> None:
    _, proxy, port = between
    with connected(port) as client, proxy.weather(Weather(delay=0.3)):
        started = time.monotonic()
        client.sendall(request(PRODUCE))
        take(client)
    assert time.monotonic() - started >= 0.3


def test_a_lost_answer_was_heard_and_ends_the_connection(between: tuple[Echo, Proxy, int]) -> None:
    echo, proxy, port = between
    with connected(port) as client, proxy.weather(Weather(answers_lost=frozenset({END_TRANSACTION}))):
        client.sendall(request(PRODUCE))
        assert take(client) == request(PRODUCE)
        client.sendall(request(END_TRANSACTION))
        assert ended(client)
    assert echo.heard == [request(PRODUCE), request(END_TRANSACTION)]


def test_in_silence_the_connection_stays_and_what_was_sent_arrives_afterwards(between: tuple[Echo, Proxy, int]) -> None:
    echo, proxy, port = between
    with connected(port) as client:
        with proxy.weather(Weather(silent=True)):
            client.sendall(request(PRODUCE))
            client.settimeout(0.3)
            with pytest.raises(TimeoutError):
                client.recv(1)
            assert echo.heard == []
        client.settimeout(SECONDS)
        assert take(client) == request(PRODUCE)


def test_a_cut_ends_what_is_open_and_takes_nothing_until_it_is_over(between: tuple[Echo, Proxy, int]) -> None:
    _, proxy, port = between
    with connected(port) as client:
        client.sendall(request(PRODUCE))
        take(client)
        with proxy.weather(Weather(cut=True)):
            assert ended(client)
            with connected(port) as another:
                assert ended(another)
    with connected(port) as client:
        client.sendall(request(PRODUCE))
        assert take(client) == request(PRODUCE)


def test_a_broker_that_is_away_is_a_connection_that_ends() -> None:
    port, nobody = map(int, free_ports(2))
    with Proxy(port, nobody), connected(port) as client:
        assert ended(client)


def test_a_client_that_goes_away_leaves_the_others_alone(between: tuple[Echo, Proxy, int]) -> None:
    _, _, port = between
    with connected(port) as stays:
        with connected(port) as goes:
            goes.sendall(request(PRODUCE)[:5])
        stays.sendall(request(PRODUCE))
        assert take(stays) == request(PRODUCE)
