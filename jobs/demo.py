"""The demo: a real clickstream through broker, Flink, feature store, model and tables, and what came out of it."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.compute as pc
from rich.console import Console
from rich.progress import Progress

from infra.config import Settings
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError
from jobs import apply
from jobs.clickstream import Clickstream, count, open_clickstream, profiles
from jobs.play import play, read_all
from jobs.submit import submit
from lakehouse.append import overwrite
from lakehouse.query import query
from lakehouse.read import read

_IDLE_SECONDS = 120  # without any progress, something is wrong
_DECILES = """
SELECT 11 - ntile AS decile, count(*) AS actions, round(min(score), 3) AS lowest, round(max(score), 3) AS highest,
       round(100.0 * avg(CAST(purchases > 0 AS INT)), 1) AS converted_percent
FROM (SELECT p.score, ntile(10) OVER (ORDER BY p.score) AS ntile,
             (SELECT count(*) FROM user_actions b WHERE b.action = 'purchase' AND b.user_id = p.user_id
              AND b.event_time > p.event_time AND b.event_time <= p.event_time + INTERVAL 30 MINUTE) AS purchases
      FROM predictions p)
GROUP BY ntile ORDER BY decile
"""


def demo(settings: Settings, file: Path | None, mapping: Path | None, speed: float | None) -> None:
    """Run the main job from nothing to predictions and tables; run again, it sends only what is missing."""
    from infra.stack.stack import up

    console, started = Console(), time.monotonic()
    clickstream = open_clickstream(file or settings.root / "data" / "shop_clickstream.csv.gz", mapping)
    topic = load_contracts().topics["user-actions"]

    def step(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - started:5.1f} s[/]  {text}")

    step("starting broker, Flink, Redis, registry")
    up(settings, step)
    apply.main(settings, console=Console(quiet=True))
    step("topics, schemas, tables and features are as declared")
    for job in ("score_events", "archive_topics"):
        step(submit(settings, job))
    bring_profiles(settings, clickstream)
    step("user profiles are in their table and in the online store")

    total = count(clickstream)
    with Progress(console=console) as progress:
        bar = progress.add_task(f"actions of {clickstream.file.name}", total=total)
        played = play(
            settings,
            topic,
            clickstream,
            speed=speed,
            clock=time.monotonic,
            sleep=time.sleep,
            progress=lambda _: progress.advance(bar),
        )
    if played.already_there:
        step(f"{played.already_there:,} of {total:,} actions were in the topic already and were not sent again")
    step(f"{played.sent:,} actions sent")
    answers = _wait_for_answers(settings, topic.partitions, console, step)
    rows = _wait_for_tables(settings, answers, step)
    _summary(settings, console, answers, rows)


def bring_profiles(settings: Settings, clickstream: Clickstream) -> None:
    """The profiles that a clickstream tells, into their table and the online store."""
    from features.materialize import materialize_profiles

    overwrite(settings, "user_profiles", profiles(clickstream), f"profiles-{clickstream.digest}")
    materialize_profiles(settings, datetime.now(UTC))


def _wait_for_answers(settings: Settings, partitions: int, console: Console, step: object) -> Counter[str]:
    """Count committed records until every action is answered."""
    answers: Counter[str] = Counter()
    heard, before, first = time.monotonic(), -1, True
    with Progress(console=console) as progress:
        bar = progress.add_task("predictions and dead letters", total=None)
        while True:
            counts = Counter(
                {name: sum(1 for _ in read_all(settings, name, partitions)) for name in ("user-actions", "predictions", "user-actions-dlq")}
            )
            answered = counts["predictions"] + counts["user-actions-dlq"]
            progress.update(bar, total=counts["user-actions"], completed=answered)
            if answered and first:
                first = False
                progress.console.print("       first predictions are committed")
            if answered >= counts["user-actions"]:
                answers = counts
                break
            if answered != before:
                heard, before = time.monotonic(), answered
            elif time.monotonic() - heard > _IDLE_SECONDS:
                message = f"{answered} of {counts['user-actions']} actions were answered, then none for {_IDLE_SECONDS} s"
                message += "; see `./streamhouse status`"
                raise StreamhouseError(message)
            time.sleep(1)
    return answers


def _wait_for_tables(settings: Settings, answers: Counter[str], step: object) -> dict[str, int]:
    """Wait until the tables hold what the topics hold."""
    heard, before = time.monotonic(), -1
    while True:
        rows = {name: read(settings, name.replace("-", "_"), columns=["topic_offset"]).num_rows for name in answers}
        if all(rows[name] >= answers[name] for name in answers):
            return rows
        if sum(rows.values()) != before:
            heard, before = time.monotonic(), sum(rows.values())
        elif time.monotonic() - heard > _IDLE_SECONDS:
            message = (
                f"the tables hold {rows}, the topics {dict(answers)}, and nothing moved for {_IDLE_SECONDS} s; see `./streamhouse status`"
            )
            raise StreamhouseError(message)
        time.sleep(1)


def _summary(settings: Settings, console: Console, answers: Counter[str], rows: dict[str, int]) -> None:
    predictions = read(settings, "predictions", columns=["flags"])
    late = sum("late_action" in flags for flags in predictions["flags"].to_pylist())
    console.print()
    console.print(f"actions      {answers['user-actions']:>9,}    in the table {rows['user-actions']:,}")
    console.print(f"predictions  {answers['predictions']:>9,}    in the table {rows['predictions']:,}")
    console.print(f"dead letters {answers['user-actions-dlq']:>9,}    in the table {rows['user-actions-dlq']:,}")
    console.print(f"late actions {late:>9,}")
    console.print(f"AUC of the score on the last 4 weeks: {_auc(settings):.3f} (does the user purchase within 30 minutes?)")
    console.print("\nconversion by score decile, from the Iceberg tables:")
    console.print(query(settings, _DECILES).to_pandas().to_string(index=False))
    console.print(f"\nFlink  {settings.flink.rest_url}    registry  {settings.registry.url}    Kafka  {settings.kafka.servers}")
    console.print(
        'try next:  ./streamhouse status   ./streamhouse consume predictions -n 3   ./streamhouse query "SELECT * FROM predictions LIMIT 5"'
    )


def _auc(settings: Settings) -> float:
    """The area under the curve of published scores against purchases within 30 minutes, on the last 28 days."""
    from sklearn.metrics import roc_auc_score

    table = query(
        settings,
        """SELECT p.score, EXISTS (SELECT 1 FROM user_actions b WHERE b.action = 'purchase' AND b.user_id = p.user_id
               AND b.event_time > p.event_time AND b.event_time <= p.event_time + INTERVAL 30 MINUTE) AS bought
           FROM predictions p WHERE p.event_time > (SELECT max(event_time) - INTERVAL 28 DAY FROM predictions)""",
    )
    if pc.count_distinct(table["bought"]).as_py() < 2:
        return float("nan")
    return float(roc_auc_score(table["bought"].to_numpy(), table["score"].to_numpy()))
