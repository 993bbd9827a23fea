"""A Java in a process of its own, with what Flink has in its lib folder and this project's Java beside it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from py4j.java_gateway import GatewayParameters, launch_gateway

from infra.config import load_settings
from infra.stack import jars, java_functions
from infra.stack.services import flink_home, java_home


@contextmanager
def flinks_java(options: Sequence[str] = ()) -> Iterator[tuple[GatewayParameters, Any]]:
    """How Py4J reaches it, and its process, which ends with the block. `options` are those of the JVM."""
    settings = load_settings()
    jars.install(settings, ("ecj", "flink"))
    java = java_home() / "bin" / "java"
    lib = [*(flink_home() / "lib").glob("*.jar"), *jars.installed(settings, "flink").glob("*.jar")]
    lib.append(java_functions.made(settings, java, flink_home() / "lib"))
    port, token, process = launch_gateway(
        classpath=":".join(map(str, lib)),
        java_path=str(java),
        javaopts=["-XX:+UseSerialGC", *options],
        die_on_exit=True,
        enable_auth=True,
        redirect_stdout=subprocess.DEVNULL,
        redirect_stderr=subprocess.DEVNULL,
        return_proc=True,
    )
    try:
        yield GatewayParameters(port=port, auth_token=token), process
    finally:
        process.stdin.close()  # with which it ends
        process.wait(20)
