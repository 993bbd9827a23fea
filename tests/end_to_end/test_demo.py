"""The demo as a person runs it, with a file of his own, on a stack that has seen other actions before."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from infra.config import Settings
from tests.end_to_end.facts import records

MAPPING = '[columns]\nuser_id = "who"\nsession_id = "visit"\naction = "what"\ntimestamp = "at"\n'
ROWS = 30


def demo(settings: Settings, file: Path) -> str:
    command = [str(settings.root / "streamhouse"), "demo", "--input", str(file)]
    done = subprocess.run(command, env={**os.environ, **settings.environment}, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_second_file_is_answered_before_the_demo_ends_and_never_sent_twice(played: Settings, tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    (tmp_path / "mine.toml").write_text(MAPPING)
    lines = [f"mine-{i % 3},v{i // 5},{'purchase' if i % 7 == 6 else 'home'},2025-03-01 12:{i:02}:00" for i in range(ROWS)]
    lines.append(",v,home,2025-03-01 13:00:00")  # nobody: a dead letter
    file.write_text("\n".join(["who,visit,what,at", *lines]) + "\n")
    before = {topic: len(records(played, topic)) for topic in ("user-actions", "predictions", "user-actions-dlq")}

    said = demo(played, file)
    assert f"{ROWS + 1} actions sent" in said
    after = {topic: len(records(played, topic)) for topic in before}
    assert {topic: after[topic] - before[topic] for topic in before} == {
        "user-actions": ROWS + 1,
        "predictions": ROWS,
        "user-actions-dlq": 1,
    }
    for title, topic in (("actions", "user-actions"), ("predictions", "predictions"), ("dead letters", "user-actions-dlq")):
        assert re.search(rf"^{title} +{after[topic]:,} +in the table {after[topic]:,}$", said, re.MULTILINE), said

    again = demo(played, file)
    assert f"0 actions sent; {ROWS + 1} of {ROWS + 1} were there already" in again
    assert {topic: len(records(played, topic)) for topic in before} == after
