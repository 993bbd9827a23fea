"""Jars by their lock files: `jars/<name>/jgo.toml` says what is wanted, `jgo.lock.toml` what exactly that is, with sha256 sums.

.streamhouse/env/bin/python -m infra.stack.jars lock      makes the lock files again after jgo.toml was edited
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.config import ROOT, Settings, load_settings
from infra.errors import StreamhouseError

if TYPE_CHECKING:
    from jgo.maven import MavenContext

FOLDER = Path(__file__).parent / "jars"
SETS = ("kafka", "flink", "ecj", "registry")
LOCKED = (*SETS, "s3")
"""Beside what the embedded stack runs on: what Flink's image for Kubernetes needs for tables in S3."""
_UNFINISHED = "unfinished-"
_SUMS = ".sums.json"


def lock_file(name: str) -> Path:
    """The lock of one set of jars."""
    return FOLDER / name / "jgo.lock.toml"


def installed(settings: Settings, name: str) -> Path:
    """Where a set lies."""
    return settings.installed / "jars" / name


def is_installed(settings: Settings, name: str) -> bool:
    """Whether the set is there, complete, as of its lock."""
    stamp = installed(settings, name) / ".lock-sha256"
    if not stamp.is_file() or stamp.read_text("utf-8") != _digest(lock_file(name)):
        return False
    files = [_SUMS] if name == "registry" else [_filename(d) for d in _locked(name)]
    return all((installed(settings, name) / file).is_file() for file in files)


def spoilt(settings: Settings, name: str) -> list[str]:
    """Installed jars of a set that are no longer what the lock says; reads every byte of them."""
    folder = installed(settings, name)
    if name == "registry":  # the lock has the sum of its archive; those of what was in it were taken when it was unpacked
        sums = dict(json.loads((folder / _SUMS).read_text("utf-8")))
    else:
        sums = {_filename(dependency): dependency["sha256"] for dependency in _locked(name)}
    return [file for file, expected in sums.items() if not (folder / file).is_file() or _digest(folder / file) != expected]


def install(settings: Settings, names: Sequence[str] = SETS) -> None:
    """Fetch what is missing, check every sum, and put each set into its place at once. Does nothing the second time.

    Two at a time wait for each other; one that was interrupted leaves nothing that counts.

    Raises:
        StreamhouseError: a file that is not what the lock says, or cannot be fetched.

    """
    if all(is_installed(settings, name) for name in names):
        return
    from filelock import FileLock
    from rich.progress import Progress

    folder = settings.installed / "jars"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "install.lock"), Progress() as progress:
        for left in folder.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(left)
        wanted = [name for name in names if not is_installed(settings, name)]
        bar = progress.add_task("jars", total=sum(len(_locked(name)) for name in wanted))
        context = _context()
        for name in wanted:
            place = installed(settings, name)
            with tempfile.TemporaryDirectory(dir=folder, prefix=_UNFINISHED) as unfinished:
                made = Path(unfinished) / name
                made.mkdir()
                for dependency in _locked(name):
                    progress.update(bar, description=f"jars: {dependency['artifactId']}")
                    _put(fetched(context, dependency), made)
                    progress.advance(bar)
                if name == "registry":
                    sums = {str(file.relative_to(made)): _digest(file) for file in sorted(made.rglob("*.jar"))}
                    (made / _SUMS).write_text(json.dumps(sums, indent=0), "utf-8")
                (made / ".lock-sha256").write_text(_digest(lock_file(name)), "utf-8")
                shutil.rmtree(place, ignore_errors=True)
                made.rename(place)


def fetched(context: MavenContext, dependency: dict[str, Any]) -> Path:
    """One file of a lock, from the local Maven cache or the network, after its sum was checked.

    Raises:
        StreamhouseError: it cannot be fetched, or has another sum than the lock says.

    """
    project = context.project(dependency["groupId"], dependency["artifactId"])
    artifact = project.at_version(dependency["version"]).artifact(dependency.get("classifier", ""), dependency.get("packaging", "jar"))
    try:
        file = Path(artifact.resolve())
        if _digest(file) != dependency["sha256"]:  # a fetch that was cut off leaves a piece in the cache
            file.unlink()
            file = Path(artifact.resolve())
    except Exception as error:
        message = f"jar {artifact.filename} cannot be fetched: {error}; check the network and run the command again"
        raise StreamhouseError(message) from error
    if (found := _digest(file)) != dependency["sha256"]:
        message = f"jar {artifact.filename} has sha256 {found}, expected {dependency['sha256']}; delete {file} and run the command again"
        raise StreamhouseError(message)
    return file


def _put(file: Path, folder: Path) -> None:
    if file.name.endswith(".tar.gz"):
        with tarfile.open(file) as archive:
            archive.extractall(folder, filter="data")
    else:
        shutil.copy(file, folder / file.name)


def _locked(name: str) -> list[dict[str, Any]]:
    dependencies: list[dict[str, Any]] = tomllib.loads(lock_file(name).read_text("utf-8"))["dependencies"]
    return dependencies


def _filename(dependency: dict[str, Any]) -> str:
    classifier = f"-{dependency['classifier']}" if dependency.get("classifier") else ""
    return f"{dependency['artifactId']}-{dependency['version']}{classifier}.{dependency.get('packaging', 'jar')}"


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _context() -> MavenContext:
    from jgo.maven import MavenContext, PythonResolver

    return MavenContext(resolver=PythonResolver())


def lock() -> None:
    """Resolve each jgo.toml and write its lock file."""
    from jgo.env import EnvironmentBuilder, EnvironmentSpec, LockFile
    from jgo.env._lockfile import LockedDependency

    for name in LOCKED:
        spec = EnvironmentSpec.load(FOLDER / name / "jgo.toml")
        context = _context()
        if name == "registry":  # one archive that holds all that it needs
            group, artifact, version, classifier, packaging = spec.coordinates[0].split(":")
            file = context.project(group, artifact).at_version(version).artifact(classifier, packaging).resolve()
            locked = [LockedDependency(group, artifact, version, packaging, classifier, _digest(Path(file)))]
            made = LockFile(dependencies=locked, environment_name=name)
        else:
            made = EnvironmentBuilder(context).resolve_lockfile(spec)
        made.save(lock_file(name))
        print(f"{name}: {len(made.dependencies)} files locked")


if __name__ == "__main__":
    if sys.argv[1:] != ["lock"]:
        sys.exit("usage: python -m infra.stack.jars lock")
    load_settings(root=ROOT)
    lock()
