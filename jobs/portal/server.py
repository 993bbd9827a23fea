"""The portal as it is served, and as it is written into a folder."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn
import yaml

from infra.config import Settings
from infra.errors import StreamhouseError, environment_name
from infra.portal.asyncapi import asyncapi
from infra.portal.catalogue import Catalogue
from infra.portal.render import catalogue_document, page
from infra.whole_files import write_whole
from jobs.portal.app import application
from jobs.portal.current import Current
from jobs.portal.declared import declared
from jobs.portal.live import Live

_HOST = "127.0.0.1"
_CONNECTIONS = 100


def serve(settings: Settings, port: int | None, say: Callable[[str], None]) -> None:
    """Until Ctrl-C or SIGTERM, on loopback alone. `port`: 0 takes a free one, None that of the settings.

    Raises:
        StreamhouseError: the port is another's.

    """
    with _listening(settings.portal.port if port is None else port) as listener:
        own: int = listener.getsockname()[1]
        current = Current(settings)
        live = Live(settings, current, beside=current.findings)
        app = application(current, live.document, own, settings.kafka.servers, settings.kafka.security_protocol)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            ws="none",
            proxy_headers=False,
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=5,
        )
        say(f"the portal: http://{_HOST}:{own}/  (Ctrl-C ends it)")
        uvicorn.Server(config).run(sockets=[listener])


def export(settings: Settings, folder: Path) -> list[Path]:
    """Write the page with what is seen now, the AsyncAPI document and the catalogue into a folder; answers the files.

    Raises:
        StreamhouseError: the folder cannot be written to.

    """
    catalogue = declared(settings)
    live = Live(settings, lambda: catalogue).document()
    return write(catalogue, live if _saw_something(live) else None, folder, settings)


def write(catalogue: Catalogue, live: dict[str, object] | None, folder: Path, settings: Settings) -> list[Path]:
    """The three files of an export.

    Raises:
        StreamhouseError: as `export`.

    """
    document = asyncapi(catalogue, settings.kafka.servers, settings.kafka.security_protocol)
    texts = {
        "index.html": page(catalogue, live, polls=False).html,
        "asyncapi.yaml": yaml.safe_dump(document, sort_keys=False, allow_unicode=True),
        "catalogue.json": json.dumps(catalogue_document(catalogue), ensure_ascii=False, indent=1),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_whole(folder / name, text)
    except OSError as error:
        message = f"--export {folder}: expected a folder to write to, got {error.strerror}; name another"
        raise StreamhouseError(message) from error
    return [folder / name for name in texts]


def _saw_something(live: dict[str, object]) -> bool:
    seen = live["seen"]
    assert isinstance(seen, dict)
    return any(seen[part] is not None for part in ("topics", "groups", "subjects", "jobs", "tables", "online"))


def _listening(port: int) -> socket.socket:
    try:
        return socket.create_server((_HOST, port))
    except OSError as error:
        name = environment_name("portal.port")
        what = f"setting `portal.port`: expected a free port of {_HOST}, {port} is not: {error.strerror}"
        message = f"{what}; end what listens there, name another with --port, or set {name}"
        raise StreamhouseError(message) from error
