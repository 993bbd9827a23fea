"""Whether `why` explains any prediction within a second, and makes each again to the bit.

    ./streamhouse demo && .streamhouse/env/bin/python -m tests.benchmarks.why [--predictions N] [--seed S] [--json FILE]

Of the state folder that the settings name (STREAMHOUSE_STATE), in which a demo ran; the stack may be down. Predictions are drawn from the
table, each named by its event id and explained in one process, as `./streamhouse why` does it. What is told is held against the table read
in another way, and against onnxruntime asked by hand. The exit status is 1 when one differs or takes more than a second. The tables are
opened once, before the first, and told apart; so is the first that is named by its action's event id, for which those of all actions
are read.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import onnxruntime
import orjson
import pyarrow as pa
import typer

from infra.config import load_settings
from jobs.why.explain import Explainer
from jobs.why.explanation import Explanation
from lakehouse.read import read, snapshot

_COLUMNS = ["event_id", "action_id", "action_partition", "action_offset", "user_id", "score", "decision", "features"]
_LIMIT_SECONDS = 1.0
T = TypeVar("T")


def main(
    predictions: Annotated[int, typer.Option(min=1, help="how many are explained; all where the table holds fewer")] = 1000,
    seed: Annotated[int, typer.Option(help="which ones")] = 1,
    file: Annotated[Path | None, typer.Option("--json", help="where to write the numbers")] = None,
) -> None:
    """Explain them one after the other."""
    settings = load_settings()
    rows = read(settings, "predictions", _COLUMNS, snapshot_id=snapshot(settings, "predictions"))
    chosen = random.Random(seed).sample(range(len(rows)), min(predictions, len(rows)))
    some: list[dict[str, Any]] = rows.take(pa.array(chosen, pa.int64())).to_pylist()
    if not some:
        raise SystemExit("table predictions is empty; run `./streamhouse demo` first")
    explainer, opening = _timed(lambda: Explainer(settings, many=True))
    by_hand, seconds, wrong = _ByHand(), [], []
    for row in some:
        found, took = _timed(lambda name=row["event_id"]: explainer.explain(name))  # type: ignore[misc]
        seconds.append(took)
        if not (found.again.is_equal and _tells(found, row) and by_hand.agrees(found)):
            wrong.append((row["event_id"], [one.sentence for one in found.again.differences]))
    _, by_action = _timed(lambda: explainer.explain(some[0]["action_id"]))
    p50, p95, most = (round(float(value), 4) for value in np.quantile(seconds, (0.5, 0.95, 1.0)))
    numbers = {
        "predictions": len(some),
        "same_bits": len(some) - len(wrong),
        "seconds": {"p50": p50, "p95": p95, "max": most, "opening": round(opening, 3), "first_by_action_id": round(by_action, 3)},
        "over_a_second": sum(took > _LIMIT_SECONDS for took in seconds),
    }
    print(f"{len(some):,} of {len(rows):,} predictions explained")
    print(f"p50 {p50 * 1000:.0f} ms, p95 {p95 * 1000:.0f} ms, most {most * 1000:.0f} ms; {numbers['over_a_second']} took over a second")
    print(f"{numbers['same_bits']:,} came out again to the same bits, as served and folded")
    print(f"tables opened in {opening:.2f} s; the first named by its action's event id took {by_action:.2f} s more")
    for name, sentences in wrong[:20]:
        print(f"{name}: {'; '.join(sentences) or 'what is told is not what the table holds'}")
    if file is not None:
        file.write_bytes(orjson.dumps(numbers, option=orjson.OPT_INDENT_2))
    raise typer.Exit(1 if wrong or numbers["over_a_second"] else 0)


def _timed(do: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    return do(), time.perf_counter() - began


def _tells(found: Explanation, row: dict[str, Any]) -> bool:
    """Whether an explanation is of that row of the table, whole, with what holds it."""
    event = found.action.event
    return (
        event is not None
        and (found.said.event_id, str(event.event_id), event.data.user_id) == (row["event_id"], row["action_id"], row["user_id"])
        and (found.action.place.partition, found.action.place.offset) == (row["action_partition"], row["action_offset"])
        and (found.said.score, found.said.decision) == (row["score"], row["decision"])
        and [feature.value for feature in found.features] == row["features"]
        and all(feature.view for feature in found.features)
        and found.model.sha256 == found.model.sha256_on_disk
        and all(held is not None and held.added_by is not None and len(held.receipts) == 1 for held in (found.action.held, found.said.held))
    )


class _ByHand:
    """The model's file asked without anything of the project in between."""

    def __init__(self) -> None:
        self._sessions: dict[Path, Any] = {}

    def agrees(self, found: Explanation) -> bool:
        """Whether the values that are told give the score that is told, to the bit."""
        path = found.model.path
        session = self._sessions.setdefault(path, None) or onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self._sessions[path] = session
        x = np.array([[feature.value for feature in found.features]], np.float32)
        (scores,) = session.run([session.get_outputs()[-1].name], {session.get_inputs()[0].name: x})
        return f"{np.asarray(scores, np.float32).ravel()[0].view(np.uint32):08x}" == found.said.bits


if __name__ == "__main__":
    typer.run(main)
