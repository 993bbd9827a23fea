"""The service that takes orders over HTTP and shows them: `python -m jobs.shop.http_service`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
import threading
import uuid
from collections.abc import AsyncIterator

import uvicorn
from fastapi import FastAPI

from infra.clock import system_clock
from infra.config import Settings, load_settings
from infra.errors import StreamhouseError, environment_name
from jobs.patterns.commands import Commands
from jobs.patterns.database import open_database
from jobs.patterns.patience import patient
from jobs.serve import beating, until_ended
from jobs.shop.http.app import application
from jobs.shop.http.health import Health
from jobs.shop.http.patience import patient_for
from jobs.shop.http.reader import Reader
from jobs.shop.http.sender import Sender

NAME = "shop-http"
_BEAT_SECONDS = 1.0
_CONNECTIONS = 1_000  # those beyond are told to come again
_HEAD_BYTES = 16_384
_IDLE_SECONDS = 5

log = logging.getLogger(NAME)


def serve(settings: Settings) -> None:
    """Until SIGTERM or SIGINT, behind the requests that are under way.

    Raises:
        StreamhouseError: the port is another's, or the broker cannot be used.

    """
    limits, stop = settings.shop_http, threading.Event()
    sender = Sender(limits.commands, limits.reply_seconds)
    failures: list[Exception] = []

    def connect() -> None:
        try:
            sender.commands = patient(lambda: _connected(settings), stop.is_set)
        except Exception as error:  # told by the thread that waits for this one
            failures.append(error)
            server.should_exit = True

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        beats = asyncio.create_task(_beats(settings))  # in the loop that answers: a loop that hangs is silent
        try:
            yield
        finally:
            beats.cancel()

    database = open_database(settings)
    reader = Reader(database, limits.read_seconds)
    app = application(sender, reader, Health(settings, reader), limits, lambda: str(uuid.uuid4()), lifespan)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http=patient_for(limits.body_seconds),
            h11_max_incomplete_event_size=_HEAD_BYTES,
            ws="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            timeout_keep_alive=_IDLE_SECONDS,
            timeout_graceful_shutdown=limits.reply_seconds + limits.body_seconds,
        )
    )
    connecting = threading.Thread(target=connect)
    with _listening(limits.host, limits.port) as listener:
        connecting.start()  # reads are answered while the broker is away
        try:
            server.run(sockets=[listener])
        finally:
            stop.set()
            connecting.join()
            if sender.commands is not None:
                sender.commands.__exit__(None, None, None)
            database.dispose()
    if failures:
        what = f"the broker at {settings.kafka.servers}: expected topics for commands and replies, got: {failures[0]}"
        message = f"{what}; run `./streamhouse apply`"
        raise StreamhouseError(message) from failures[0]


def _connected(settings: Settings) -> Commands:
    return Commands(settings, system_clock, f"streamhouse/{NAME}", seconds=settings.shop_http.reply_seconds).__enter__()


async def _beats(settings: Settings) -> None:
    beat = beating(settings, NAME)
    while True:
        beat()
        await asyncio.sleep(_BEAT_SECONDS)


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        name = environment_name("shop_http.port")
        what = f"setting `shop_http.port`: expected a free port of {host}, {port} is not: {error.strerror}"
        message = f"{what}; end what listens there, or set {name}"
        raise StreamhouseError(message) from error


def main() -> int:
    """Answers the exit status: 0 when it was asked to end, 1 when it cannot go on."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    until_ended()  # the server raises the signal again when it is done
    try:
        serve(load_settings())
    except StreamhouseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
