"""Feast's own pages are one command away, on loopback and the port that the portal links to."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import httpx
import psutil

from features.apply import apply
from infra.config import ROOT, load_settings
from tests.ports import free_ports


def test_feasts_pages_are_served_on_loopback_alone(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    settings = load_settings({"STREAMHOUSE_STATE": str(tmp_path), "STREAMHOUSE_PORTAL_FEAST_PORT": port})
    apply(settings)
    environment = {**os.environ, **settings.environment}
    with (tmp_path / "feast.txt").open("wb") as out:
        process = subprocess.Popen(
            ["./streamhouse", "feast", "ui"], cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 150
        while True:
            assert process.poll() is None, (tmp_path / "feast.txt").read_text("utf-8")[-2000:]
            assert time.monotonic() < deadline
            with contextlib.suppress(httpx.HTTPError):
                page = httpx.get(settings.portal.feast_url, timeout=5, trust_env=False)
                break
            time.sleep(0.2)
        assert page.status_code == 200
        assert "Feast" in page.text
        projects = httpx.get(f"{settings.portal.feast_url}/projects-list.json", timeout=30, trust_env=False).json()["projects"]
        assert [project["id"] for project in projects] == ["streamhouse"]
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        listening = {one.laddr for part in family for one in part.net_connections("tcp") if one.status == psutil.CONN_LISTEN}
        assert {tuple(address) for address in listening} == {("127.0.0.1", int(port))}
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(120)
