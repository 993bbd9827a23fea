"""The project's Java is compiled into a jar: once, the same each time, and what is wrong with it is said."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from infra.config import Settings, load_settings
from infra.errors import StreamhouseError
from infra.stack import jars, java_functions
from infra.stack.services import flink_home, java_home

_SETS = ("ecj", "flink")


@pytest.fixture(scope="module")
def installed() -> Path:
    settings = load_settings()
    jars.install(settings, _SETS)
    return settings.installed / "jars"


@pytest.fixture
def elsewhere(installed: Path, tmp_path: Path) -> Settings:
    """A project of its own with the same sources, compiler and jars."""
    settings = replace(load_settings(), root=tmp_path, installed=tmp_path / "installed")
    shutil.copytree(load_settings().root / "jobs" / "flink" / "java", tmp_path / "jobs" / "flink" / "java")
    (settings.installed / "jars").mkdir(parents=True)
    for name in _SETS:
        (settings.installed / "jars" / name).symlink_to(installed / name)
    return settings


def made(settings: Settings) -> Path:
    return java_functions.made(settings, java_home() / "bin" / "java", flink_home() / "lib")


def test_it_is_compiled_once_and_anew_after_a_change(elsewhere: Settings) -> None:
    first = made(elsewhere)
    held, when = first.read_bytes(), first.stat().st_mtime_ns
    assert "streamhouse/AnswerRecords.class" in zipfile.ZipFile(first).namelist()
    assert made(elsewhere).stat().st_mtime_ns == when

    source = java_functions.sources(elsewhere)[0]
    source.write_text(source.read_text("utf-8") + "// a word more\n", "utf-8")
    second = made(elsewhere)
    assert second != first, "a stack that runs keeps what it was started with"
    assert (first.read_bytes(), second.read_bytes()) == (held, held), "the same code gives the same bytes"


def test_what_is_wrong_is_said_and_the_old_jar_stays(elsewhere: Settings) -> None:
    old = made(elsewhere)
    source = next(source for source in java_functions.sources(elsewhere) if source.name == "AnswerRecords.java")
    right = source.read_text("utf-8")
    source.write_text(right.replace("private transient Worker worker;", "private transient Wroker worker;"), "utf-8")
    with pytest.raises(StreamhouseError, match=r"jobs/flink/java cannot be compiled: (?s:.*)Wroker cannot be resolved"):
        made(elsewhere)
    source.write_text(right, "utf-8")
    assert made(elsewhere) == old


def test_a_compiler_that_is_killed_or_away_leaves_no_jar(elsewhere: Settings, tmp_path: Path) -> None:
    killed = tmp_path / "java"
    killed.write_text("#!/bin/sh\nkill -9 $$\n", "utf-8")
    killed.chmod(0o755)
    with pytest.raises(StreamhouseError, match="cannot be compiled: the compiler ended with -9"):
        java_functions.made(elsewhere, killed, flink_home() / "lib")
    (elsewhere.installed / "jars" / "ecj").unlink()
    with pytest.raises(StreamhouseError, match="expected Eclipse's compiler for Java, got none"):
        made(elsewhere)
    assert list((elsewhere.installed / "jars").glob("*.jar")) == []
