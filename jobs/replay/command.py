"""The command: pin a history, replay it with a progress bar, print, and answer an exit status."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext

from confluent_kafka import KafkaException

from infra.config import Settings
from infra.errors import StreamhouseError
from jobs.answered import PREDICTIONS
from jobs.lineage.data import Data, tables, topic
from jobs.lineage.run import running
from jobs.replay.chosen import chosen
from jobs.replay.cluster import replay_on_flink
from jobs.replay.history import NO_HISTORY, History, pinned
from jobs.replay.run import replay
from jobs.replay.tell import as_dict, show
from jobs.scoring_parts import SOURCE_TOPIC
from jobs.speaking import bar, is_read

EQUAL, DIFFERS, COULD_NOT = 0, 1, 2


def main(
    settings: Settings,
    *,
    from_time: str | None,
    to_time: str | None,
    offsets: Sequence[str],
    tag: str | None,
    snapshot_id: int | None,
    fold: bool,
    topics: bool,
    flink: bool,
    parallelism: int | None,
    batch: int,
    as_json: bool,
    own_name: str,
) -> int:
    """Print the report to standard output, progress and what went wrong to standard error. `own_name`: of the history while it is read."""
    try:
        what = chosen(from_time, to_time, offsets)
        if topics and (fold or tag is not None or snapshot_id is not None):
            raise StreamhouseError("--topics reads what the topics hold now; --fold, --tag and --snapshot need the tables: leave one out")
        if tag is not None and snapshot_id is not None:
            raise StreamhouseError("--tag names a snapshot of each table, and --snapshot another of user_actions: leave one out")
        if flink and (fold or topics):
            raise StreamhouseError("--flink replays the tables as they were served, and neither --fold nor --topics: leave one out")
        if parallelism is not None and not flink:
            raise StreamhouseError("--parallelism is that of the Flink job; give --flink, too, or leave it out")
        place = nullcontext(NO_HISTORY) if topics else pinned(settings, tag, own_name, snapshot_id)
        with place as history, running(settings, "replay", _reads(settings, history)), bar("replaying") as (tell, console):
            if flink:
                hands = parallelism or settings.replay.parallelism
                say = lambda text: console.print(text, highlight=False)  # noqa: E731 - one line for one argument
                report = replay_on_flink(settings, history, what, batch, hands, own_name, say, tell)
            else:
                report = replay(settings, history, what, batch, tell, fold=fold, topics=topics)
    except KafkaException as error:
        broker = settings.kafka.bootstrap_servers
        print(f"error: broker {broker}: expected the topics, got {error.args[0].str()}; run `./streamhouse up`", file=sys.stderr)
        return COULD_NOT
    except (StreamhouseError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return COULD_NOT
    except Exception:  # a mistake of the replay is no difference
        traceback.print_exc()
        return COULD_NOT
    if not is_read((lambda: as_dict(report)) if as_json else None, lambda console: show(report, console)):
        return COULD_NOT
    return DIFFERS if report.differences else EQUAL if report.compared else COULD_NOT


def _reads(settings: Settings, history: History) -> list[Data]:
    """The tables of a history; topics where there is none."""
    return tables(settings, history.snapshots) or [topic(settings, name) for name in (SOURCE_TOPIC, PREDICTIONS)]
