"""The sockets of a stack's own programs: in the state folder, or in /tmp where that lies too deep for one."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from infra.config import Settings
from infra.errors import StreamhouseError

_SOCKET_BYTES = 90  # sockets take 107; the supervisor makes its own under a longer name first


def supervisor_socket(settings: Settings) -> Path:
    """Where supervisord listens."""
    return _folder(settings) / "supervisor.sock"


def forkserver_socket(settings: Settings) -> Path:
    """Where Python workers are asked for."""
    return _folder(settings) / "forkserver.sock"


def _folder(settings: Settings) -> Path:
    if len(os.fsencode(settings.state / "supervisor.sock")) <= _SOCKET_BYTES:
        return settings.state
    key = hashlib.sha256(os.fsencode(settings.state)).hexdigest()[:16]
    return Path("/tmp") / f"streamhouse-{os.getuid()}-{key}"  # never by TMPDIR, which changes; `private` looks whose it is


def private(folder: Path) -> None:
    """Make the folder of a socket; in /tmp another user could have made it first and listen there in the owner's place.

    Raises:
        StreamhouseError: it belongs to another user.

    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        message = f"folder {folder} belongs to another user; choose a shorter state folder with STREAMHOUSE_STATE"
        raise StreamhouseError(message)
