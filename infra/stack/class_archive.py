"""Classes parsed and checked once, for Java to map into memory when it starts (class-data sharing): of Flink's client, and of the broker.

A client of Flink loads 13,000 classes from 400 MB of jars, which was most of what it did; a broker 7,000, a third of its start. Which
ones is said by `classes.txt.gz` beside the list of their jars. A list that is old is no fault: what it lacks is loaded from the jars. Java
itself holds the archive against version, size and time of Java and jars, and does without where one differs.

    mkdir .streamhouse/jars/record      then `up`, `apply`, submit each job and `down`: what each of them loaded is written there
    .streamhouse/env/bin/python -m infra.stack.class_archive        makes the lists anew from that, and removes it
"""

from __future__ import annotations

import gzip
import hashlib
import re
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from infra.config import ROOT, Settings, load_settings
from infra.stack.jars import installed


@dataclass(frozen=True)
class Of:
    """Whose classes one archive holds: the set of jars that its list lies beside, and in words."""

    jars: str
    words: str

    @property
    def classes(self) -> Path:
        """The list."""
        return Path(__file__).parent / "jars" / self.jars / "classes.txt.gz"


CLIENT, BROKER = Of("flink", "Flink's classes"), Of("kafka", "the broker's classes")
_SECONDS = 300
_PLANNER = "flink-table-planner.jar"


def planner(settings: Settings, loader: Path) -> Path:
    """The planner by itself, taken once out of the jar of its `loader`, which would unpack 45 MB and load it anew in each client.

    Flink's manual has it in the place of the loader where its classes are to be seen; an archive holds only classes that are. Services keep
    the loader: with the planner they find Scala's Kryo in it, which makes objects without their constructors, and Iceberg's upkeep fails.
    """
    file = settings.installed / "jars" / f"{loader.stem.replace('-loader', '')}.jar"
    if not file.exists() or file.stat().st_mtime < loader.stat().st_mtime:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent) as folder, zipfile.ZipFile(loader) as jar:
            Path(jar.extract(_PLANNER, folder)).rename(file)
    return file


def class_path(settings: Settings, of: Of = CLIENT) -> str:
    """What Flink's scripts would make of the client's folder; or the broker's jars, in an order that stays."""
    if of == BROKER:
        return ":".join(str(jar) for jar in sorted(installed(settings, of.jars).glob("*.jar")))
    jars = sorted(client_lib(settings).glob("*.jar"), key=lambda jar: (jar.name.startswith("flink-dist"), jar.name))
    return ":".join(str(jar) for jar in jars)


def client_lib(settings: Settings) -> Path:
    """Where the client's jars lie: Java takes an archive only of jars that lie as those did that it was made from."""
    return settings.state / "flink" / "client-lib"


def with_planner(settings: Settings, jars: Iterable[Path]) -> list[Path]:
    """The jars of services as the client has them."""
    return [planner(settings, jar) if jar.name.startswith("flink-table-planner-loader-") else jar for jar in jars]


def options(settings: Settings, of: Of = CLIENT) -> str:
    """What tells a Java, with this class path, of the archive. Flink's scripts break a path at its spaces.

    In a container nobody makes one, see `make`.
    """
    record, file = _record(settings), _file(settings, of)
    if settings.stack.runs_elsewhere or re.search(r"\s", str(file)):
        return "-Xshare:auto"
    if record.is_dir():
        return f"-XX:DumpLoadedClassList={record}/{of.jars}-%p.txt"
    # at the address that it was made for, or each Java would write to all its pages and so have 150 MB of its own; and in silence where it
    # does without, since what is said goes between the lines of `flink run`
    return f"-Xshare:auto -XX:SharedArchiveFile={file} -Xlog:cds=off -XX:+UnlockDiagnosticVMOptions -XX:ArchiveRelocationMode=0"


def make(settings: Settings, java: Path) -> str:
    """Make each archive, unless there is one of these jars, this Java and this list; answers what kept one from being made, or nothing.

    Two at a time wait for each other; one that was interrupted leaves nothing that counts.
    """
    faults = []
    for of in (CLIENT, BROKER) if settings.kafka.is_embedded else (CLIENT,):
        try:
            fault = _made(settings, java, of)
        except OSError as error:
            fault = str(error)
        if fault:
            faults.append(f"no archive of {of.words}: {fault}; what loads them starts seconds later without one")
    return "; ".join(faults)


def _made(settings: Settings, java: Path, of: Of) -> str:
    file = _file(settings, of)
    stamp = file.with_suffix(".stamp")
    with FileLock(file.with_suffix(".lock")):
        wanted = _made_from(settings, java, of)
        if (
            all(there.exists() for there in (file, stamp, *([_links(settings)] if of == CLIENT else [])))
            and stamp.read_text("utf-8") == wanted
        ):
            return ""
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            stamp.unlink(missing_ok=True)
            listed, made = Path(folder) / "classes.txt", Path(folder) / "made.jsa"
            listed.write_bytes(gzip.decompress(of.classes.read_bytes()))
            command = [str(java), "-XX:+UseSerialGC", "-Xshare:dump", f"-XX:SharedClassListFile={listed}", f"-XX:SharedArchiveFile={made}"]
            jars = _linked(settings) if of == CLIENT else class_path(settings, of)
            try:
                done = subprocess.run([*command, "-cp", jars], capture_output=True, text=True, check=False, timeout=_SECONDS)
            except subprocess.TimeoutExpired:
                return f"it took longer than {_SECONDS} s"
            if done.returncode or not made.exists():
                return done.stdout.strip()[-200:]
            made.replace(file)
            stamp.write_text(wanted, "utf-8")
    return ""


def _linked(settings: Settings) -> str:
    """The same class path through a folder that stays when the state folder goes.

    Java looks for each jar where it was when the archive was made, and then takes those of any other folder for it.
    """
    folder = _links(settings)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    jars = [Path(jar) for jar in class_path(settings).split(":")]
    for jar in jars:
        (folder / jar.name).symlink_to(jar.resolve())
    return ":".join(str(folder / jar.name) for jar in jars)


def _links(settings: Settings) -> Path:
    return settings.installed / "jars" / "flink-lib"


def _file(settings: Settings, of: Of) -> Path:
    return settings.installed / "jars" / f"{of.jars}-classes.jsa"


def _record(settings: Settings) -> Path:
    return settings.installed / "jars" / "record"


def _made_from(settings: Settings, java: Path, of: Of) -> str:
    """A digest of what Java itself will hold the archive against, and of the list."""
    parts = [of.classes.read_bytes().hex(), str(settings.installed)]
    for file in [java, *(Path(jar) for jar in class_path(settings, of).split(":"))]:
        state = file.stat()
        parts.append(f"{file.name} {state.st_size} {state.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _merge(settings: Settings, of: Of) -> None:
    names: set[str] = set()
    for file in _record(settings).glob(f"{of.jars}-*.txt"):
        lines = file.read_text("utf-8").splitlines()
        names |= {line.split(" ", 1)[0] for line in lines if line[0] not in "#@" and "source:" not in line}
        names |= {line for line in lines if line.startswith("@")}
    names = {name for name in names if not name.startswith("jdk/proxy")}
    text = "\n".join(sorted(names, key=lambda name: (name.startswith("@"), name))) + "\n"
    of.classes.write_bytes(gzip.compress(text.encode(), mtime=0))
    print(f"{len(names)} lines in {of.classes}")


if __name__ == "__main__":
    chosen = load_settings(root=ROOT)
    for each in (CLIENT, BROKER):
        _merge(chosen, each)
    shutil.rmtree(_record(chosen))
