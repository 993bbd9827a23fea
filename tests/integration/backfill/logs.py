"""A log of real actions in a real topic, some of them bad or late, and what the scoring path itself answers to it."""

from __future__ import annotations

import contextlib
import random
import shutil
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from confluent_kafka import OFFSET_BEGINNING, Message, TopicPartition
from pyiceberg.exceptions import NoSuchTableError

from features.enrich import Enricher
from infra.config import ROOT, Settings
from infra.contracts.load import load_contracts
from jobs.clickstream import open_clickstream, profiles, rows
from jobs.committed_records import end_offsets, read_to_end
from jobs.published_models import published_model
from jobs.scoring_parts import as_records, models_folder, rules
from jobs.scoring_path import Model, answer
from lakehouse.append import append
from lakehouse.catalog import open_catalog
from lakehouse.read import read
from tests.audited import PARTITIONS, Sent, Writer, archived, audited_anew
from tests.histories import StoreWithProfiles, profiles_of
from tests.lake import put_records

CHAMPION = "purchase_30m@1"
TABLE = "scores_purchase_30m_v1"
CLICKSTREAM = ROOT / "data" / "shop_clickstream.csv.gz"
Row = tuple[float, bool, tuple[float, ...], tuple[str, ...], str, str, int]
"""Score, decision, features, flags, event id, user, event time in ms."""


def some_actions(count: int, first: int = 0) -> list[Sent]:
    """Real actions; one in twenty comes later than it should, one in fifty is bad."""
    rng, ready = random.Random(first), list[tuple[int, Sent]]()
    for number, row in enumerate(islice(rows(open_clickstream(CLICKSTREAM)), first, first + count)):
        late = rng.randint(1, 60) if rng.random() < 0.05 else 0
        ready.append((number + late, Sent(row.user_id.encode(), b"no json" if number % 50 == 49 else row.value)))
    return [sent for _, sent in sorted(ready, key=lambda pair: pair[0])]


def system(broker: Settings, state: Path) -> Settings:
    """Topics made anew, and a lake with the profiles of the clickstream's users."""
    settings = audited_anew(broker, state)
    append(settings, "user_profiles", profiles(open_clickstream(CLICKSTREAM)), "profiles")
    return settings


def send(shop: Writer, actions: list[Sent], step: int = 97) -> None:
    """Into user-actions, in transactions, whose markers take offsets too."""
    for start in range(0, len(actions), step):
        shop.send_many(("user-actions", sent) for sent in actions[start : start + step])


def champion(settings: Settings) -> Model:
    """The published model."""
    return published_model(models_folder(settings), CHAMPION)


def answers(settings: Settings, model: Model, seed: int = 5) -> dict[tuple[int, int], Row]:
    """What the scoring path answers to the whole topic by predictions, in batches of random sizes as the stream has them; by place."""
    messages = _whole_log(settings)
    rng, found, source_rules = random.Random(seed), dict[tuple[int, int], Row](), rules()
    store = StoreWithProfiles(profiles_of(read(settings, "user_profiles")))
    enricher = Enricher(store, lambda *_: iter(()), lambda _: 0, lambda _: None, wait_seconds=0)
    while messages:
        size = rng.randint(1, 90)
        records = as_records([m for m in messages[:size] if m.partition() == messages[0].partition()])
        messages = messages[len(records.values) :]
        given = answer(records, source_rules, enricher, model, now_ms=1_704_067_200_000)
        for place, is_prediction, value, source in zip(
            zip(records.partition.tolist(), records.offset.tolist(), strict=True),
            given.is_prediction,
            given.values,
            records.values,
            strict=True,
        ):
            if is_prediction:
                event = orjson.loads(value)
                data, time = event["data"], orjson.loads(source or b"")["timestamp"]
                found[place] = (
                    float(np.float32(data["score"])),
                    data["decision"],
                    tuple(float(np.float32(x)) for x in data["features"]),
                    tuple(data["flags"]),
                    data["actionId"],
                    data["userId"],
                    milliseconds(time),
                )
    return found


def archive_prefix(settings: Settings, seed: int) -> dict[int, int]:
    """Archive so much of each partition as comes by chance, up to the middle of a transaction; answers where the archive ends then."""
    rng, log, ends = random.Random(seed), _whole_log(settings), dict[int, int]()
    for partition in range(PARTITIONS):
        mine = [message for message in log if message.partition() == partition]
        # the next record lies right behind the last one that is archived
        dense = [i for i in range(1, len(mine)) if mine[i].offset() == (mine[i - 1].offset() or 0) + 1]
        cut = rng.choice(dense)
        put_records(settings, "user_actions", archived("user-actions", mine[:cut]))
        ends[partition] = mine[cut].offset() or 0
    return ends


def table_rows(settings: Settings, table: str = TABLE) -> dict[tuple[int, int], Row]:
    """What a scores table holds; fails where a place is there twice."""
    found: dict[tuple[int, int], Row] = {}
    for row in read(settings, table).to_pylist():
        place = row["topic_partition"], row["topic_offset"]
        assert place not in found, place
        found[place] = (
            row["score"],
            row["decision"],
            tuple(row["features"]),
            tuple(row["flags"]),
            row["event_id"],
            row["user_id"],
            round(row["event_time"].timestamp() * 1000),
        )
    return found


def milliseconds(text: str) -> int:
    """RFC 3339 as ms since 1970."""
    return int(np.datetime64(text.removesuffix("Z"), "ms").astype(np.int64))


def ends_of_topics(settings: Settings) -> dict[tuple[str, int], int]:
    """Where the next record of each partition of each topic will lie."""
    return end_offsets(settings, [(t.name, p) for t in load_contracts().topics.values() for p in range(t.partitions)])


def forget(settings: Settings, table: str = TABLE) -> None:
    """Drop a table, its files too, so that it is filled anew; if it is there."""
    with open_catalog(settings) as catalog, contextlib.suppress(NoSuchTableError):
        catalog.drop_table((settings.lake.namespace, table))
    shutil.rmtree(settings.lake.own_warehouse / settings.lake.namespace / table, ignore_errors=True)


class Killed(BaseException):
    """As a signal: nothing catches it."""


def killed_at(point: str, number: int) -> Callable[[Any], None]:
    """What dies when it is told of that point for the how-manieth time."""
    seen = 0

    def reached(what: str) -> None:
        nonlocal seen
        seen += what == point
        if what == point and seen == number:
            raise Killed

    return reached


def _whole_log(settings: Settings) -> list[Message]:
    messages: list[Message] = []
    for some in read_to_end(settings, [TopicPartition("user-actions", p, OFFSET_BEGINNING) for p in range(PARTITIONS)]):
        messages += some
    return sorted(messages, key=lambda message: (message.partition() or 0, message.offset() or 0))
