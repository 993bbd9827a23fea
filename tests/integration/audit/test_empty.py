"""Nothing there: an empty system is clean, and one that is not there cannot be audited."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from infra.config import Settings, load_settings
from jobs.audit import pins
from jobs.audit.command import main
from tests.audited import audited_anew
from tests.ports import free_ports


def test_an_empty_system_is_clean_and_one_that_is_not_there_cannot_be_audited(
    broker: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = audited_anew(broker, tmp_path / "state")
    assert main(settings, as_json=True, settled=True, wait_seconds=None) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["actions"] == 0
    bare = load_settings({"STREAMHOUSE_STATE": str(tmp_path / "other"), "STREAMHOUSE_KAFKA_PORT": str(settings.kafka.port)})
    assert main(bare, as_json=True, settled=True, wait_seconds=None) == 2
    assert "table `predictions`: expected it in" in capsys.readouterr().err
    (port,) = free_ports(1)
    monkeypatch.setattr(pins, "_SECONDS", 1.0)  # all of which it waits
    gone = dataclasses.replace(settings, kafka=dataclasses.replace(settings.kafka, port=int(port)))
    assert main(gone, as_json=False, settled=True, wait_seconds=None) == 2
    assert f"broker 127.0.0.1:{port}: expected an answer" in capsys.readouterr().err
