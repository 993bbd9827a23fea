"""The notebook, by the very commands that the README shows: it finds what lies in the topics."""

from __future__ import annotations

import bisect
import json
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import nbformat
import orjson
import pytest
from confluent_kafka import Message
from nbclient import NotebookClient
from sklearn.metrics import roc_auc_score

from infra.config import ROOT, Settings
from jobs.notebook import DEFAULT
from models.manifest import PUBLISHED, load_manifest, published
from tests.end_to_end.facts import place_of, records, value_of
from tests.end_to_end.readme import environment, said, shown

pytestmark = pytest.mark.timeout(900)
PROBE = """
import json
print(json.dumps({
    "predictions": len(predictions), "actions": len(outcomes), "bought": int(outcomes.bought.sum()), "judged": len(judged),
    "alarms": len(alarms), "auc": roc_auc_score(judged.bought, judged.score), "deciles": calibration.actions.tolist(),
    "in_deciles": float((calibration.bought * calibration.actions).sum()), "weekly": int(weeks.actions.sum()),
    "flags": flags.predictions.to_dict(), "late": len(late), "flagged": int(late.flagged.sum()), "surest": surest["score"],
}))
"""


def test_the_notebook_runs_by_one_command_and_shows_what_lies_in_the_topics(archived: Settings) -> None:
    printed = said(archived, shown("./streamhouse notebook"))
    folder = archived.state / "notebooks"
    assert str(folder / "predictions.ipynb") in printed
    assert (folder / "predictions.html").as_uri() in printed
    notebook: Any = nbformat.read(folder / "predictions.ipynb", as_version=4)
    outputs = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    assert not [o for cell in outputs.values() for o in cell if o.output_type == "error" or o.get("name") == "stderr"]
    plots = [name for name, cell in outputs.items() if any("image/png" in o.get("data", {}) for o in cell)]
    assert plots == ["distribution", "calibration", "weeks"]

    expected = from_topics(archived)
    text = {name: "".join(o.text for o in cell if o.output_type == "stream") for name, cell in outputs.items()}
    assert text["predictions"].startswith(f"{expected['predictions']:,} predictions for ")
    assert text["judged"].startswith(f"{expected['judged']:,} actions, ")
    assert f"AUC {expected['auc']:.3f} " in text["judged"]
    assert text["late"] == f"{expected['late']:,} actions came late, {expected['flagged']:,} of them are flagged so\n"
    assert text["backtest"].startswith("The candidate purchase_30m@2 ")
    assert "purchase_30m@1" in text["backtest"]
    html = (folder / "predictions.html").read_text("utf-8")
    assert html.count("<svg") == 3
    assert html.count("data:image/png;base64,") == len(plots)
    assert f"AUC {expected['auc']:.3f} " in html


def test_the_notebook_runs_in_the_users_own_jupyter(archived: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said(archived, shown(".streamhouse/env/bin/python -m ipykernel"), JUPYTER_DATA_DIR=str(tmp_path))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    notebook: Any = nbformat.read(ROOT / DEFAULT, as_version=4)
    assert (tmp_path / "kernels" / notebook.metadata.kernelspec.name).is_dir()
    notebook.cells.append(nbformat.v4.new_code_cell(PROBE))
    # from the repository's root, while the command starts in notebooks/; the kernel is the one that the notebook names
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}})
    client.execute(env=environment(archived, IPYTHONDIR=str(tmp_path / "ipython")))
    got = json.loads("".join(output.text for output in notebook.cells[-1].outputs))

    expected = from_topics(archived)
    assert got.pop("auc") == pytest.approx(expected.pop("auc"), abs=1e-12)
    assert sum(got.pop("deciles")) == got["judged"]
    assert got.pop("in_deciles") == pytest.approx(expected.pop("bought_later"))
    assert got.pop("weekly") == got["actions"]
    assert got.pop("surest") == pytest.approx(expected.pop("surest"), abs=1e-6)
    assert got == expected


def from_topics(settings: Settings) -> dict[str, Any]:
    """What the notebook must find, counted from the topics without the tables and without SQL."""
    actions = {place_of(message): value_of(message)["data"] for message in records(settings, "user-actions") if is_json(message)}
    rows = []
    for message in records(settings, "predictions"):
        event = value_of(message)
        data = event["data"]
        place = (data["actionPartition"], data["actionOffset"])
        rows.append((place, datetime.fromisoformat(event["timestamp"]), data["userId"], actions[place]["action"], data))
    rows.sort(key=lambda row: row[0])

    purchases: dict[str, list[datetime]] = {}
    latest: dict[str, datetime] = {}
    late, flagged = 0, 0
    for _, moment, user, action, data in rows:
        if action == "purchase":
            bisect.insort(purchases.setdefault(user, []), moment)
        if moment < latest.get(user, moment):
            late += 1
            flagged += "late_action" in data["flags"]
        latest[user] = max(moment, latest.get(user, moment))

    def bought(user: str, moment: datetime) -> bool:
        mine = purchases.get(user, [])
        place = bisect.bisect_right(mine, moment)
        return place < len(mine) and mine[place] <= moment + timedelta(minutes=30)

    end = max(moment for _, moment, *_ in rows) - timedelta(minutes=30)
    split = load_manifest(published(PUBLISHED, settings.score_events.model)).training.split
    first, unseen = datetime.fromisoformat(split["train"][0]), datetime.fromisoformat(split["test"][0])
    known = [(moment, bought(user, moment), data) for _, moment, user, _, data in rows if moment <= end]
    judged = [(was, data) for moment, was, data in known if not first <= moment < unseen]
    return {
        "predictions": len(rows),
        "actions": len(known),
        "bought": sum(was for _, was, _ in known),
        "judged": len(judged),
        "alarms": sum(data["decision"] for _, data in judged),
        "auc": roc_auc_score([was for was, _ in judged], [data["score"] for _, data in judged]),
        "bought_later": sum(was for was, _ in judged),
        "flags": dict(Counter(flag for *_, data in rows for flag in data["flags"])),
        "late": late,
        "flagged": flagged,
        "surest": max(data["score"] for *_, data in rows),
    }


def is_json(message: Message) -> bool:
    try:
        value_of(message)
    except orjson.JSONDecodeError:
        return False
    return True


def test_a_notebook_without_tables_says_what_to_run(stack: Settings, tmp_path: Path) -> None:
    error = said(stack, "./streamhouse notebook", status=1, STREAMHOUSE_STATE=str(tmp_path / "nothing"))
    assert error.startswith("error: a cell of predictions.ipynb ended with LakehouseError: table `predictions`")
    assert error.rstrip().endswith("run `./streamhouse up && ./streamhouse apply`, or `./streamhouse demo`")
    assert len(error.splitlines()) == 1
