"""The gate as a program over the project's own files, also when they break rules that everything else is held to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.config import ROOT
from tests.contracts.changes import BREAKING
from tests.contracts.edits import Edit, data, without_version
from tests.ports import free_ports
from tests.unit.jobs.gate.test_reference import commit, git

PACKAGES = ("infra", "jobs", "features", "models", "lakehouse")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The programs and their contracts as a commit of their own."""
    root = tmp_path / "clone"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    git(tmp_path, "init", "-q", str(root))
    commit(root)
    return root


def gate(clone: Path, edit: Edit) -> tuple[int, dict[str, Any]]:
    edit(clone / "infra" / "contracts")
    environment = {
        **os.environ,
        **dict(zip(("STREAMHOUSE_REGISTRY_PORT", "STREAMHOUSE_KAFKA_PORT"), map(str, free_ports(2)), strict=True)),
        "STREAMHOUSE_STATE": str(clone / "state"),
        "PYTHONPATH": str(clone),
    }
    command = [sys.executable, "-c", "from jobs.cli import main; main()", "contracts", "check", "--against", "HEAD", "--json"]
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


def remove_platform(part: dict[str, Any]) -> None:
    del part["properties"]["platform"]


def test_what_a_change_hits_is_said_although_an_example_does_not_fit_any_more(clone: Path) -> None:
    status, told = gate(clone, data("UserAction", remove_platform))
    assert status == 1
    assert any("mend the example" in sentence for sentence in told["brokenRules"])
    (finding,) = told["findings"]
    assert (finding["what"], finding["safe"], finding["field"]) == ("field removed", False, "data.platform")
    assert "purchase_30m@1" in {hit["name"] for hit in finding["hits"]}
    assert told["release"]


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (data("UserAction", lambda part: part["properties"]["platform"].update({"$ref": "http://x/"})), "$ref"),
        (lambda folder: (folder / "schemas/order-shipped.v1.schema.json").unlink(), "order-shipped.v1.schema.json"),
        (without_version("orders", "OrderShipped", 1), "OrderShipped"),
        (lambda folder: (folder / "topics/user-actions.yaml").unlink(), "expected user-actions.yaml"),
        (BREAKING["a field renamed"].edit, "data.platform"),
    ],
)
def test_whatever_is_wrong_is_a_sentence(clone: Path, edit: Edit, says: str) -> None:
    status, told = gate(clone, edit)
    assert status == 1
    assert says in json.dumps(told)
