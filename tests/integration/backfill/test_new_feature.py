"""A feature that was never served, for a model that was never served: filled over the whole past by the code that knows it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infra.config import ROOT, Settings
from models import golden
from models.manifest import ModelInput
from tests.audited import Archive, Writer
from tests.integration.backfill.logs import answers, champion, send, some_actions, system, table_rows
from tests.unit.models.builders import WORDS, a_folder

_COUNTED = '"purchases": (PURCHASE,),'


@pytest.fixture
def next_release(tmp_path: Path) -> Path:
    """This repository with one more count per window: `engaged`, additions to the cart and purchases together."""
    root = tmp_path / "next"
    for folder in ("jobs", "features", "models", "lakehouse", "infra"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    activity = root / "features" / "activity.py"
    text = activity.read_text("utf-8")
    assert text.count(_COUNTED) == 1
    activity.write_text(text.replace(_COUNTED, _COUNTED + ' "engaged": (CART_ADD, PURCHASE),'), "utf-8")
    return root


def test_a_new_feature_is_filled_for_all_that_was_before_it(broker: Settings, tmp_path: Path, next_release: Path) -> None:
    settings = system(broker, tmp_path / "state")
    shop, archive, actions = Writer(settings, "shop"), Archive(settings), some_actions(400)
    send(shop, actions[:300])
    archive.follow("user-actions")
    send(shop, actions[300:])
    inputs = (
        ModelInput(name="engaged_24h", source="user_activity:engaged_24h", dtype="float32", default=0.0),
        ModelInput(name="action", source="action:action", dtype="float32", default=-1.0, vocabulary=WORDS),
    )
    made = a_folder(tmp_path / "made", name="engaged", inputs=inputs)
    (made / golden.FILE).unlink()

    def streamhouse(*arguments: str) -> str:
        # the copy's code and its models, on the same tables and topics
        environment = {"PATH": os.environ["PATH"], **settings.environment}
        command = [sys.executable, "-m", "jobs.cli", *arguments]
        done = subprocess.run(command, cwd=next_release, env=environment, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "published engaged@1" in streamhouse("publish", str(made))
    told = json.loads(streamhouse("backfill", "--model", "engaged@1", "--json"))
    served, filled = answers(settings, champion(settings)), table_rows(settings, "scores_engaged_v1")
    assert told["rows"] == len(filled) == 392
    sources = champion(settings).sources
    parts = [sources.index(f"user_activity:{what}_24h") for what in ("cart_adds", "purchases")]
    assert {place: row[2][0] for place, row in filled.items()} == {place: sum(row[2][i] for i in parts) for place, row in served.items()}
    assert len({row[2][0] for row in filled.values()}) > 2
