"""A streaming table environment with the settings that every job shares."""

from __future__ import annotations

from collections.abc import Mapping

from pyflink.table import EnvironmentSettings, TableEnvironment

from infra.config import Settings
from infra.stack import flink_rest
from infra.stack.services import worker_python


def streaming(settings: Settings, name: str, configuration: Mapping[str, str]) -> TableEnvironment:
    """An environment for the job `name`; `configuration` adds to or overrides what stands here."""
    table_environment = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    python = str(settings.installed / "env" / "bin" / "python")
    common = {
        "pipeline.name": name,
        "execution.checkpointing.mode": "EXACTLY_ONCE",
        # a folder by name, so that the next start finds it, whoever started this one
        "execution.checkpointing.dir": f"file://{flink_rest.checkpoint_folder(settings, name)}",
        "execution.checkpointing.unaligned.enabled": "false",  # the Iceberg sink loses data with them
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "python.execution-mode": "process",  # thread mode hangs with numpy and onnxruntime
        "python.executable": worker_python(),
        "python.client.executable": python,
        "table.local-time-zone": "UTC",
    }
    for key, value in {**common, **configuration}.items():
        table_environment.get_config().set(key, value)
    return table_environment
