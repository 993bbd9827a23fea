"""The doctor names each planted fault and what to do."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import socket
from pathlib import Path

import pytest

from infra.config import Settings, load_settings
from infra.stack import doctor, jars
from infra.stack.doctor import examine, megabytes


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    ports = {name: str(20_000 + i) for i, name in enumerate(("KAFKA_PORT", "KAFKA_CONTROLLER_PORT", "FLINK_REST_PORT", "FLINK_RPC_PORT"))}
    ports |= {name: str(20_100 + i) for i, name in enumerate(("REDIS_PORT", "REGISTRY_PORT", "REGISTRY_MANAGEMENT_PORT"))}
    return load_settings({f"STREAMHOUSE_{name}": port for name, port in ports.items()} | {"STREAMHOUSE_STATE": str(tmp_path / "state")})


def test_a_taken_port_is_named_with_the_setting_that_moves_it(settings: Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        held = dataclasses.replace(settings, redis=dataclasses.replace(settings.redis, port=port))
        assert any(f"port {port} of redis is held by" in fault and "STREAMHOUSE_REDIS_PORT" in fault for fault in examine(held))


def test_a_missing_jar_is_named(settings: Settings, tmp_path: Path) -> None:
    assert any("jars of kafka are missing" in fault for fault in examine(dataclasses.replace(settings, installed=tmp_path)))
    place = tmp_path / "jars" / "flink"
    place.mkdir(parents=True)
    (place / ".lock-sha256").write_text("of another lock")
    assert not jars.is_installed(dataclasses.replace(settings, installed=tmp_path), "flink")


@pytest.mark.parametrize("name", jars.SETS)
def test_a_spoilt_jar_is_named(settings: Settings, tmp_path: Path, name: str) -> None:
    place = jars.installed(dataclasses.replace(settings, installed=tmp_path), name)
    files = ["quarkus-run.jar"] if name == "registry" else [jars._filename(dependency) for dependency in jars._locked(name)]
    place.mkdir(parents=True)
    for file in files:
        (place / file).write_bytes(b"cut off")
    (place / ".sums.json").write_text(json.dumps(dict.fromkeys(files, "of the whole file")))
    (place / ".lock-sha256").write_text(hashlib.sha256(jars.lock_file(name).read_bytes()).hexdigest())
    faults = examine(dataclasses.replace(settings, installed=tmp_path))
    assert f"jar {files[0]} of {name} is not what its lock says; delete {place} and run `./streamhouse up`" in faults


@pytest.mark.parametrize("program", ["no file at all", "broken"])
def test_a_java_that_cannot_be_run_is_named(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    java = tmp_path / "java" / "bin" / "java"
    if program == "broken":
        java.parent.mkdir(parents=True)
        java.write_bytes(b"\x7fELF cut off")
        java.chmod(0o755)
    monkeypatch.setattr(doctor, "java_home", lambda: tmp_path / "java")
    assert any(f"java at {tmp_path / 'java'} cannot be run; delete" in fault for fault in examine(settings))


def test_a_redis_that_cannot_be_run_is_named(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "redis-server").write_text("#!/nowhere/sh\n")
    (tmp_path / "redis-server").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert any(f"{tmp_path / 'redis-server'} cannot be run; delete" in fault for fault in examine(settings))


def test_a_disk_with_less_than_is_needed_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_NEEDED_DISK", 1 << 60)  # no disk has that
    assert any("GiB of disk left, expected" in fault and "STREAMHOUSE_STATE" in fault for fault in examine(settings))


def test_too_little_memory_is_named(settings: Settings) -> None:
    greedy = dataclasses.replace(settings, flink=dataclasses.replace(settings.flink, taskmanager_memory="9000g"))
    assert any("of memory are free" in fault and "STREAMHOUSE_FLINK_TASKMANAGER_MEMORY" in fault for fault in examine(greedy))


def test_a_state_folder_that_cannot_be_written_is_named(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/1/streamhouse")):
        nowhere = dataclasses.replace(settings, state=place)
        assert any(f"{place} cannot be written" in fault and "STREAMHOUSE_STATE" in fault for fault in examine(nowhere))


def test_a_state_folder_with_a_space_is_named(settings: Settings, tmp_path: Path) -> None:
    spaced = dataclasses.replace(settings, state=tmp_path / "my state")
    assert any(f"{tmp_path / 'my state'} has a space" in fault and "STREAMHOUSE_STATE" in fault for fault in examine(spaced))


def test_sizes_are_read_as_flink_writes_them() -> None:
    assert (megabytes("kafka.heap", "512m"), megabytes("kafka.heap", "2g"), megabytes("kafka.heap", "512MB")) == (512, 2048, 512)
