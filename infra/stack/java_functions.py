"""The project's own functions of Flink's, in Java: compiled once into a jar that stands in the lib folder of Flink and of its client.

The Java that comes with the Python environment has no compiler, so Eclipse's is taken, which is one jar.
"""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
import zipfile
from pathlib import Path

from filelock import FileLock

from infra.config import Settings
from infra.errors import StreamhouseError
from infra.stack.jars import installed

_BUILT_AGAINST = ("flink-dist-*.jar", "flink-table-api-java-uber-*.jar", "flink-table-runtime-*.jar", "iceberg-flink-runtime-*.jar")
_RELEASE = "21"
_SECONDS = 120
_BEGINNING = (1980, 1, 1, 0, 0, 0)  # of a jar's time: the same source gives the same bytes


def sources(settings: Settings) -> list[Path]:
    """What is compiled, sorted."""
    return sorted((settings.root / "jobs" / "flink" / "java").rglob("*.java"))


def made(settings: Settings, java: Path, flink_lib: Path) -> Path:
    """The jar of these sources, this Flink, Iceberg and compiler, compiled unless it is there. Two at a time wait for each other.

    What it is made from is in its name, so a stack that runs keeps the one that it was started with.

    Raises:
        StreamhouseError: the compiler says that a source is wrong, or is not there.

    """
    folder = settings.installed / "jars"
    folder.mkdir(parents=True, exist_ok=True)
    lib = (flink_lib, installed(settings, "flink"))
    against = [found for pattern in _BUILT_AGAINST for place in lib for found in sorted(place.glob(pattern))]
    compiler = next(installed(settings, "ecj").glob("ecj-*.jar"), None)
    if compiler is None:
        message = f"{installed(settings, 'ecj')}: expected Eclipse's compiler for Java, got none; run `./streamhouse up`, which fetches it"
        raise StreamhouseError(message)
    jar = folder / f"streamhouse-functions-{_made_from(settings, [compiler, *against])}.jar"
    with FileLock(folder / "streamhouse-functions.lock"):
        if jar.exists():
            return jar
        with tempfile.TemporaryDirectory(dir=folder) as place:
            classes, unfinished = Path(place) / "classes", Path(place) / jar.name
            command = [str(java), "-XX:+UseSerialGC", "-jar", str(compiler), f"-{_RELEASE}", "-nowarn"]
            command += ["-cp", ":".join(map(str, against)), "-d", str(classes), *map(str, sources(settings))]
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
                said = ((done.stderr or done.stdout).strip() or f"the compiler ended with {done.returncode}") if done.returncode else ""
            except (OSError, subprocess.TimeoutExpired) as error:
                said = str(error)
            if said:
                message = f"{settings.root / 'jobs' / 'flink' / 'java'} cannot be compiled: {said}"
                raise StreamhouseError(message)
            with zipfile.ZipFile(unfinished, "w") as archive:
                for file in sorted(classes.rglob("*.class")):
                    archive.writestr(zipfile.ZipInfo(str(file.relative_to(classes)), _BEGINNING), file.read_bytes())
            unfinished.replace(jar)
    return jar


def _made_from(settings: Settings, jars: list[Path]) -> str:
    digest = hashlib.sha256(_RELEASE.encode())
    for source in sources(settings):
        digest.update(source.name.encode() + source.read_bytes())
    for jar in jars:
        digest.update(f"{jar.name} {jar.stat().st_size}".encode())
    return digest.hexdigest()[:12]
