"""What the services are told before they start."""

from __future__ import annotations

from pathlib import Path

from infra.config import load_settings
from infra.stack.services import flink_home, write_files


def test_flink_does_not_log_the_environment_of_its_workers_where_the_brokers_password_stands(tmp_path: Path) -> None:
    write_files(load_settings({"STREAMHOUSE_STATE": str(tmp_path)}))
    for file in (flink_home() / "conf").glob("log4j*.properties"):
        written = (tmp_path / "flink" / "conf" / file.name).read_text("utf-8")
        lines = dict(line.split("=", 1) for line in written.splitlines() if "=" in line and not line.startswith("#"))
        settings = {key.strip(): value.strip() for key, value in lines.items()}
        silenced = "org.apache.beam.runners.fnexecution.control.DefaultJobBundleFactory"
        (logger,) = [key.removesuffix(".name") for key, value in settings.items() if value == silenced]
        assert settings[f"{logger}.level"] == "OFF"
        assert written.startswith(file.read_text("utf-8"))
