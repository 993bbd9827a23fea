"""Flink's client is started with what its own script would start it with, and Flink's classes come from an archive."""

from __future__ import annotations

import gzip
import os
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from infra.config import Settings, load_settings
from infra.stack import class_archive, flink_client, supervise
from infra.stack.services import flink_environment, flink_home, java_home, services, write_files


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A state folder with Flink's configuration and jars, as far as they come with its package."""
    settings = load_settings({"STREAMHOUSE_STATE": str(tmp_path_factory.mktemp("client"))})
    write_files(settings)
    return settings


def test_the_command_is_what_flinks_script_makes_of_configuration_and_folders(settings: Settings, tmp_path: Path) -> None:
    said, java = tmp_path / "said", tmp_path / "bin" / "java"
    java.parent.mkdir()
    # it runs the small programs of the script, and of the client only says how it was called
    java.write_text(f"""#!/bin/sh
case "$*" in
*CliFrontend*) printf '%s\\n' "$@" >{said} && env >{said}.environment ;;
*) exec {java_home() / "bin" / "java"} "$@" ;;
esac
""")
    java.chmod(0o755)
    environment = {**supervise.inherited(os.environ), **flink_environment(settings), "JAVA_HOME": str(tmp_path)}
    environment["FLINK_LIB_DIR"] = str(class_archive.client_lib(settings))  # but for the planner what services have
    script = [str(flink_home() / "bin" / "flink"), "run", "--detached"]
    subprocess.run(script, env=environment, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    # the script ends the class path with Hadoop's folders, of which there are none
    wanted = [line.rstrip(":") for line in said.read_text("utf-8").splitlines()]
    assert [*flink_client.command(settings)[1:], "run", "--detached"] == wanted
    exported = dict(line.partition("=")[::2] for line in Path(f"{said}.environment").read_text("utf-8").splitlines())
    # but for the folder of the jar that is sent along
    ours = {**flink_client.environment(settings), **{name: environment[name] for name in ("JAVA_HOME", "FLINK_OPT_DIR", "FLINK_LIB_DIR")}}
    told = {name: value for name, value in exported.items() if name.startswith("FLINK_")}
    assert {name: ours.get(name) for name in told} == told


def test_the_jar_that_the_client_sends_along_is_empty_where_the_cluster_has_it(settings: Settings) -> None:
    (true,) = (flink_home() / "opt").glob("flink-python-*.jar")
    sent = Path(flink_client.environment(settings)["FLINK_OPT_DIR"]) / true.name
    with zipfile.ZipFile(sent) as jar:
        assert jar.namelist() == ["META-INF/MANIFEST.MF"]
    assert (settings.state / "flink" / "lib" / true.name).samefile(true)
    elsewhere = replace(settings, stack=replace(settings.stack, start="nothing"))
    assert flink_client.environment(elsewhere)["FLINK_OPT_DIR"] == str(true.parent)


def test_under_a_configuration_of_others_it_is_flinks_script(settings: Settings) -> None:
    elsewhere = replace(settings, stack=replace(settings.stack, start="nothing"))
    assert flink_client.command(elsewhere) == [str(flink_home() / "bin" / "flink")]


def test_the_planner_lies_in_the_place_of_its_loader_for_the_client_alone(settings: Settings) -> None:
    """With it, a TaskManager's Kryo makes objects without their constructors, and Iceberg's upkeep fails."""
    services = {jar.name for jar in (settings.state / "flink" / "lib").glob("*.jar")}
    assert [name for name in services if name.startswith("flink-table-planner") and "loader" not in name] == []
    names = {Path(jar).name for jar in class_archive.class_path(settings).split(":")}
    (planner,) = [name for name in names if name.startswith("flink-table-planner")]
    assert "loader" not in planner
    (loader,) = (flink_home() / "lib").glob("flink-table-planner-loader-*.jar")
    assert {jar.name for jar in (flink_home() / "lib").glob("*.jar")} - names == {loader.name}


def test_the_jars_stand_in_one_order_for_every_language(settings: Settings) -> None:
    """Flink's script sorts them as the user's language does, and a Java takes no archive of another order."""
    names = [Path(jar).name for jar in class_archive.class_path(settings).split(":")][:-1]
    assert names == sorted(names, key=lambda name: [letter for letter in name.lower() if letter.isalnum()])


def test_no_option_names_an_archive_whose_path_flinks_scripts_would_break(settings: Settings) -> None:
    assert "SharedArchiveFile" in class_archive.options(settings)
    assert class_archive.options(replace(settings, installed=Path("/with a space"))) == "-Xshare:auto"


@pytest.mark.parametrize(
    ("of", "some"),
    [
        (class_archive.CLIENT, ("org/apache/flink/client/cli/CliFrontend", "org/apache/flink/table/planner/delegation/StreamPlanner")),
        (class_archive.BROKER, ("kafka/server/KafkaRaftServer", "org/apache/kafka/storage/internals/log/UnifiedLog")),
    ],
    ids=["client", "broker"],
)
def test_a_list_names_each_class_once(of: class_archive.Of, some: tuple[str, ...]) -> None:
    lines = gzip.decompress(of.classes.read_bytes()).decode().splitlines()
    assert set(some) <= set(lines)
    assert len(set(lines)) == len(lines)


def test_the_broker_is_started_with_the_jars_of_its_archive_in_one_order(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "jars" / "kafka"
    folder.mkdir(parents=True)
    for name in ("b.jar", "a.jar", "C.jar"):
        (folder / name).touch()
    (broker,) = (service.command for service in services(replace(settings, installed=tmp_path)) if service.name == "broker")
    assert broker[broker.index("-cp") + 1] == ":".join(str(folder / name) for name in ("C.jar", "a.jar", "b.jar"))
    assert f"-XX:SharedArchiveFile={tmp_path / 'jars' / 'kafka-classes.jsa'}" in broker
