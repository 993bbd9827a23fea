"""Table environments with the settings that every job shares."""

from __future__ import annotations

from collections.abc import Mapping

from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.table import EnvironmentSettings, StreamTableEnvironment, TableEnvironment

from infra.config import Settings
from infra.stack import flink_rest
from infra.stack.services import worker_python


def streaming(settings: Settings, name: str, configuration: Mapping[str, str]) -> StreamTableEnvironment:
    """An environment for the job `name`; `configuration` adds to or overrides what stands here."""
    common = {
        "execution.checkpointing.mode": "EXACTLY_ONCE",
        # a folder by name, so that the next start finds it, whoever started this one
        "execution.checkpointing.dir": flink_rest.checkpoint_address(settings, name),
        "execution.checkpointing.unaligned.enabled": "false",  # the Iceberg sink loses data with them
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
    }
    chosen = Configuration()
    for key, value in {**_common(settings, name), **common, **configuration}.items():
        chosen.set_string(key, value)
    mode = EnvironmentSettings.new_instance().in_streaming_mode().with_configuration(chosen).build()
    return StreamTableEnvironment.create(StreamExecutionEnvironment.get_execution_environment(chosen), mode)


def is_within_its_cluster(table_environment: TableEnvironment) -> bool:
    """Whether the program runs in the JobManager of a cluster made for it alone: Flink's application mode."""
    return bool(table_environment.get_config().get("execution.target", "") == "embedded")


def bounded(settings: Settings, name: str, configuration: Mapping[str, str]) -> TableEnvironment:
    """The same for a job that reads tables to their end, and ends itself. It takes no checkpoints: what was lost is read again."""
    common = {
        # a fault of the history comes again at each start, and a TaskManager that was lost does not
        "restart-strategy.type": "fixed-delay",
        "restart-strategy.fixed-delay.attempts": "3",
        "restart-strategy.fixed-delay.delay": "2 s",
        # else each source takes as many slots as it has files
        "table.exec.iceberg.infer-source-parallelism": "false",
        "table.exec.iceberg.fetch-batch-record-count": "100",  # rows that wait in the heap, where each may be a megabyte; by default 2048
    }
    table_environment = TableEnvironment.create(EnvironmentSettings.in_batch_mode())
    for key, value in {**_common(settings, name), **common, **configuration}.items():
        table_environment.get_config().set(key, value)
    return table_environment


def _common(settings: Settings, name: str) -> dict[str, str]:
    return {
        "pipeline.name": name,
        "python.execution-mode": "process",  # thread mode hangs with numpy and onnxruntime
        "python.executable": worker_python(),
        "python.client.executable": str(settings.installed / "env" / "bin" / "python"),
        "table.local-time-zone": "UTC",
    }
