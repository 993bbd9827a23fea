"""The demo: a real clickstream through broker, Flink, feature store, model and tables, and what came out of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.compute as pc
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from infra.config import Settings
from infra.contracts.events import SHAPE
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError
from jobs import apply
from jobs.clickstream import Clickstream, Row, open_clickstream, profiles
from jobs.play import Played, play
from jobs.submit import JOBS, submit
from jobs.watch import Watch
from lakehouse.append import append
from lakehouse.held_columns import columns_called
from lakehouse.query import query
from lakehouse.read import count_rows, read

ACTIONS, ANSWERS = "user-actions", ("predictions", "user-actions-dlq")
_IDLE_SECONDS = 120  # without any progress, something is wrong
_LOOK_SECONDS = 0.25
_FEW = 20
Step = Callable[[str], None]
_PURCHASES = """
WITH purchases AS (SELECT "{userId}" AS user_id, event_time FROM user_actions WHERE "{action}" = 'purchase')
"""
_DECILES = """
SELECT 11 - ntile AS decile, count(*) AS actions, round(min(score), 3) AS lowest, round(max(score), 3) AS highest,
       round(100.0 * avg(CAST(purchases > 0 AS INT)), 1) AS converted_percent
FROM (SELECT p.score, ntile(10) OVER (ORDER BY p.score, p.action_partition, p.action_offset) AS ntile,
             (SELECT count(*) FROM purchases b WHERE b.user_id = p.user_id
              AND b.event_time > p.event_time AND b.event_time <= p.event_time + INTERVAL 30 MINUTE) AS purchases
      FROM predictions p)
GROUP BY ntile ORDER BY decile
"""
_NEXT = (
    "./streamhouse status",
    "./streamhouse consume predictions -n 3",
    './streamhouse query "SELECT {action}, count(*) AS n FROM user_actions GROUP BY {action} ORDER BY n DESC"',
    "./streamhouse rebuild && ./streamhouse train purchase_30m",
    "./streamhouse down",
)


def demo(settings: Settings, file: Path | None, mapping: Path | None, speed: float | None, *, shop: bool = False) -> None:
    """Run the main job from nothing to predictions and tables; run again, it sends only what is missing. `shop`: its orders, too.

    Raises:
        StreamhouseError: the input cannot be read, a service does not come up, or nothing moves any more.

    """
    from infra.stack.stack import up

    console, started = Console(soft_wrap=True), time.monotonic()
    clickstream = open_clickstream(file or settings.root / "data" / "shop_clickstream.csv.gz", mapping)

    def step(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - started:5.1f} s[/]  {text}", highlight=False)

    step("starting broker, Flink, Redis, registry")
    up(settings, step)
    apply.main(settings, console=Console(quiet=True))
    step("topics, schemas, tables and features are as declared")
    with ThreadPoolExecutor(1) as pool:
        profiles_there = pool.submit(bring_profiles, settings, clickstream)  # Feast needs seconds of its own
        for sentence in submit(settings, *JOBS):
            step(sentence)
        profiles_there.result()
    step("user profiles are in their table and in the online store")

    with Watch(settings, (ACTIONS, *ANSWERS)) as watch:
        played = _play_and_wait(settings, clickstream, speed, watch, console, step)
        from_before = f"; {played.already_there:,} of {clickstream.size:,} were there already" if played.already_there else ""
        step(f"{played.sent:,} actions sent{from_before}")
        rows = _wait_for_tables(settings, watch.counts, step)
    _summary(settings, console, watch.counts, rows, step)
    if shop:
        from jobs.shop.demo import demo as order

        console.print()
        order(settings, console, step)


def bring_profiles(settings: Settings, clickstream: Clickstream) -> None:
    """The profiles that a clickstream tells, into their table, once, and the online store."""
    from features.materialize import materialize_profiles

    append(settings, "user_profiles", profiles(clickstream), f"profiles-{clickstream.digest}")
    materialize_profiles(settings, datetime.now(UTC))


def _play_and_wait(settings: Settings, clickstream: Clickstream, speed: float | None, watch: Watch, console: Console, step: Step) -> Played:
    """Send the file, count answers as they are committed, and go on until every action of the topic has one."""
    before = dict(watch.caught_up())
    looked, first = -_LOOK_SECONDS, not before[ANSWERS[0]]
    with Progress(
        TextColumn("{task.description:<28}"), BarColumn(), TextColumn("{task.completed:>10,.0f}"), TimeElapsedColumn(), console=console
    ) as progress:
        sending = progress.add_task(f"actions of {clickstream.file.name}", total=clickstream.size)
        bars = {name: progress.add_task(f"{name}, committed", total=None) for name in ANSWERS}

        def look() -> None:
            nonlocal looked, first
            if time.monotonic() - looked < _LOOK_SECONDS:
                return
            looked, counts = time.monotonic(), watch.look()
            for name, bar in bars.items():
                progress.update(bar, completed=counts[name], total=max(1, counts[ACTIONS]) if name == ANSWERS[0] else None)
            if first and counts[ANSWERS[0]]:
                first = False
                step("the first predictions are committed")

        def sent(_: Row) -> None:
            progress.advance(sending)
            look()

        def sleep(seconds: float) -> None:
            until = time.monotonic() + seconds
            while (left := until - time.monotonic()) > 0:
                look()
                time.sleep(min(left, _LOOK_SECONDS))

        topic = load_contracts().topics[ACTIONS]
        with _alone(settings, step):
            played = play(settings, topic, clickstream, speed=speed, clock=time.monotonic, sleep=sleep, progress=sent)
        heard, answered_then, there = time.monotonic(), -1, before[ACTIONS] + played.sent
        while (answered := sum(watch.counts[name] for name in ANSWERS)) < watch.counts[ACTIONS] or watch.counts[ACTIONS] < there:
            look()
            if answered != answered_then:
                heard, answered_then = time.monotonic(), answered
            elif time.monotonic() - heard > _IDLE_SECONDS:
                message = f"{answered:,} of {watch.counts[ACTIONS]:,} actions were answered, then none for {_IDLE_SECONDS} s"
                message += "; see `./streamhouse status`"
                raise StreamhouseError(message)
            time.sleep(_LOOK_SECONDS)
        looked = -_LOOK_SECONDS
        look()
    return played


@contextmanager
def _alone(settings: Settings, step: Step) -> Iterator[None]:
    """One player at a time: what is in the topic already is looked up once, before the rest is sent."""
    lock = FileLock(settings.state / "play.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        step("another demo is sending; this one waits for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _wait_for_tables(settings: Settings, answers: Mapping[str, int], step: Step) -> dict[str, int]:
    """Wait until the tables hold what the topics hold; by their metadata."""
    step("waiting until the tables hold it all")
    heard, before = time.monotonic(), -1
    while True:
        rows = {name: count_rows(settings, load_contracts().topics[name].archive) for name in answers}
        if all(rows[name] >= answers[name] for name in answers):
            return rows
        if sum(rows.values()) != before:
            heard, before = time.monotonic(), sum(rows.values())
        elif time.monotonic() - heard > _IDLE_SECONDS:
            message = (
                f"the tables hold {rows}, the topics {dict(answers)}, and nothing moved for {_IDLE_SECONDS} s; see `./streamhouse status`"
            )
            raise StreamhouseError(message)
        time.sleep(_LOOK_SECONDS)


def _summary(settings: Settings, console: Console, answers: Mapping[str, int], rows: Mapping[str, int], step: Step) -> None:
    called = columns_called(settings, "user_actions", SHAPE, ["userId", "action"])
    purchases = _PURCHASES.format_map(called)
    deciles = query(settings, purchases + _DECILES).to_pandas().to_string(index=False)
    step("the first query over the Iceberg tables is answered")
    predictions = read(settings, "predictions", columns=["flags"])
    late = sum("late_action" in (flags or ()) for flags in predictions["flags"].to_pylist())
    console.print()
    for title, topic in (("actions", ACTIONS), ("predictions", ANSWERS[0]), ("dead letters", ANSWERS[1])):
        console.print(f"{title:<12} {answers[topic]:>9,}    in the table {rows[topic]:,}")
    console.print(f"late actions {late:>9,}")
    console.print(_auc(settings, purchases))
    console.print("\nconversion by score decile, from the Iceberg tables:")
    console.print(deciles)
    console.print(f"\nFlink  {settings.flink.rest_url}    registry  {settings.registry.url}    Kafka  {settings.kafka.servers}")
    console.print("try next:")
    for command in _NEXT:
        console.print(f"  {command.format_map(called)}", highlight=False)


def _auc(settings: Settings, purchases: str) -> str:
    """A sentence: the area under the curve of published scores against `purchases` within 30 minutes, on the last 28 days."""
    from sklearn.metrics import roc_auc_score

    table = query(
        settings,
        purchases
        + """SELECT p.score, EXISTS (SELECT 1 FROM purchases b WHERE b.user_id = p.user_id
               AND b.event_time > p.event_time AND b.event_time <= p.event_time + INTERVAL 30 MINUTE) AS bought
           FROM predictions p WHERE p.score IS NOT NULL AND p.event_time > (SELECT max(event_time) - INTERVAL 28 DAY FROM predictions)""",
    )
    bought = pc.sum(table["bought"]).as_py() or 0
    what = f"on the last 4 weeks, {len(table):,} actions of which {bought:,} were followed by a purchase within 30 minutes"
    if bought < _FEW or len(table) - bought < _FEW:
        return f"no AUC {what}: too few to tell"
    return f"AUC of the score {what}: {roc_auc_score(table['bought'].to_numpy(), table['score'].to_numpy()):.3f}"
