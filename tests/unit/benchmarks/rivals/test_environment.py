"""The rivals run on the versions that the project runs on, where their frameworks allow it."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from infra.config import ROOT, load_settings
from infra.errors import StreamhouseError
from tests.benchmarks.rivals.environment import interpreter
from tests.benchmarks.rivals.sides import RIVALS

REQUIREMENTS = ROOT / "tests" / "benchmarks" / "rivals" / "requirements"
SHARED = ("confluent-kafka", "hiredis", "msgspec", "numpy", "onnxruntime", "orjson", "redis")
OTHERWISE = {("quix", "confluent-kafka"): "2.12.2"}  # Quix Streams asks for one below 2.13


def versions(file: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", file.read_text("utf-8"), re.MULTILINE))


def test_each_rival_has_an_environment_and_each_environment_a_rival() -> None:
    assert {rival.environment for rival in RIVALS.values()} == {file.stem for file in REQUIREMENTS.glob("*.txt")}


@pytest.mark.parametrize("name", sorted({rival.environment for rival in RIVALS.values()}))
def test_what_rivals_share_with_the_project_is_of_the_same_version(name: str) -> None:
    ours, theirs = versions(ROOT / "requirements.txt"), versions(REQUIREMENTS / f"{name}.txt")
    assert {package: theirs[package] for package in SHARED} == {
        package: OTHERWISE.get((name, package), ours[package]) for package in SHARED
    }
    listed = versions(REQUIREMENTS / f"{name}.in")
    assert {package: theirs[package] for package in listed if package in theirs} == {p: v for p, v in listed.items() if p in theirs}


def test_without_the_installer_it_is_said_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = replace(load_settings({}), installed=tmp_path)
    with pytest.raises(StreamhouseError, match=r"needs the project's uv: .* run \./streamhouse once"):
        interpreter(settings, "bare")
    assert "setting up the environment of the rival bare" in capsys.readouterr().err


def test_an_installer_that_fails_leaves_no_environment_that_looks_whole(tmp_path: Path) -> None:
    settings = replace(load_settings({}), installed=tmp_path)
    uv = tmp_path / "bootstrap" / "bin" / "uv"
    uv.parent.mkdir(parents=True)
    uv.write_text(f"#!{sys.executable}\nimport sys\nsys.exit(1)\n", "utf-8")
    uv.chmod(0o755)
    for _ in range(2):
        with pytest.raises(StreamhouseError, match="cannot be made: see above"):
            interpreter(settings, "bare")
