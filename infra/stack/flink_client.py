"""Flink's command line as a program to start: what its script works out of configuration and folders with two Javas, in a second."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from infra.config import Settings
from infra.stack import class_archive
from infra.stack.services import flink_configuration, flink_environment, flink_home, java_home

PYTHON = Path(__file__).parent / "bin" / "client-python"
"""Runs a job's program in a process that the forkserver forks."""


def command(settings: Settings) -> list[str]:
    """What `bin/flink` becomes, up to the first of its own arguments. A test holds it against the script."""
    if settings.stack.runs_elsewhere:  # under a configuration that is not ours
        return [str(flink_home() / "bin" / "flink")]
    configuration, state = flink_configuration(settings), settings.state / "flink"
    log = f"flink-{os.environ.get('USER', '')}-client-{socket.gethostname()}.log"
    logging = (state / "conf" / "log4j-cli.properties").as_uri().replace("file://", "file:")
    return [
        str(java_home() / "bin" / "java"),
        "-XX:+IgnoreUnrecognizedVMOptions",
        *str(configuration["env.java.opts.all"]).split(),
        "-Djava.security.manager=allow",
        *str(configuration["env.java.opts.client"]).split(),
        f"-Dlog.file={state / 'log' / log}",
        f"-Dlog4j.configuration={logging}",
        f"-Dlog4j.configurationFile={logging}",
        f"-Dlogback.configurationFile={logging.replace('log4j-cli.properties', 'logback.xml')}",
        "-classpath",
        class_archive.class_path(settings),
        "org.apache.flink.client.cli.CliFrontend",
    ]


def environment(settings: Settings) -> Mapping[str, str]:
    """What it needs: Flink's folders, and the one that its script would export beside them."""
    needed = {**flink_environment(settings), "FLINK_BIN_DIR": str(flink_home() / "bin")}
    return needed if settings.stack.runs_elsewhere else {**needed, "FLINK_OPT_DIR": str(_opt(settings))}


def _opt(settings: Settings) -> Path:
    """A folder in which the client finds an empty flink-python, which it sends with each job that is a Python program.

    The true one, 42 MB, stands in the lib folder of the cluster, and from there its classes are loaded in any case: sent along it is
    written by the JobManager and fetched by the TaskManager for nothing.
    """
    folder = settings.state / "flink" / "opt"
    (true,) = (flink_home() / "opt").glob("flink-python-*.jar")
    file = folder / true.name
    if [there.name for there in folder.rglob("flink-python*")] != [true.name]:  # the client takes one, from any folder below, and no more
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as place:
            made = Path(place) / true.name
            with zipfile.ZipFile(made, "w") as jar:
                jar.writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\n")
            made.replace(file)  # two may make it at once: each is whole
    return folder
