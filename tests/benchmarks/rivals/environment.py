"""The rivals' own Python environments, made on first use: their frameworks ask for other versions than the project, and than each other.

One for each file in `requirements/`, in `.streamhouse/rivals/<name>`. All have the project's versions of onnxruntime, numpy, orjson,
msgspec, redis and hiredis, and of confluent-kafka but for Quix Streams, which asks for one below 2.13. One environment for all would have
to take versions of Quix Streams and Pathway that are years old.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from filelock import FileLock

from infra.config import Settings
from infra.errors import StreamhouseError
from jobs import interrupts

_REQUIREMENTS = Path(__file__).resolve().parent / "requirements"
_TO_NOTHING = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


def interpreter(settings: Settings, name: str) -> Path:
    """The Python of the environment `name`, which is made first where it is missing or not what the requirements say any more.

    Raises:
        StreamhouseError: it cannot be made; what the installer said stands on stderr.

    """
    requirements, folder = _REQUIREMENTS / f"{name}.txt", settings.installed / "rivals" / name
    python, stamp = folder / "bin" / "python", folder / ".stamp"
    wanted = f"{folder} {sys.version_info[:3]} {hashlib.sha256(requirements.read_bytes()).hexdigest()}"
    if _is(stamp, wanted):
        return python
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f"{name}.lock"):  # a second call waits for the first
        if _is(stamp, wanted):
            return python
        print(f"setting up the environment of the rival {name} in {folder} (once)", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        uv = settings.installed / "bootstrap" / "bin" / "uv"
        _run(name, uv, "venv", "--quiet", "--no-project", "--no-config", "--python", sys.executable, folder)
        _run(name, uv, "pip", "sync", "--quiet", "--no-config", "--require-hashes", "--python", python, requirements)
        stamp.write_text(wanted, "utf-8")
    return python


def _is(stamp: Path, wanted: str) -> bool:
    return stamp.is_file() and stamp.read_text("utf-8") == wanted


def _run(name: str, *command: str | Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in _TO_NOTHING}
    try:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    except OSError as error:
        message = f"the environment of the rival {name} needs the project's uv: {error}; run ./streamhouse once, which installs it"
        raise StreamhouseError(message) from error
    with process:
        try:
            while process.poll() is None and not interrupts.came:  # of which a thread is not told
                time.sleep(0.1)
        finally:
            process.kill()
    if process.returncode:
        message = f"the environment of the rival {name} cannot be made: see above; it is installed from the network on first use"
        raise StreamhouseError(message)
