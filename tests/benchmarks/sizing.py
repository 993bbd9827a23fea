"""By arithmetic alone, from what one action costs: what a rate takes of each part, and what breaks before."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jobs.answered import PREDICTIONS
from jobs.scoring_parts import SOURCE_TOPIC
from tests.benchmarks.action_costs import Measured

_DAY = 86_400


@dataclass(frozen=True)
class Assumed:
    """What nobody measured here. Each is said on the page, and an option of the command where another is wanted."""

    rate: float = 1_000_000
    """actions a second"""
    users: float = 100_000_000
    """users whose features are kept"""
    busy: float = 0.6
    """share of a core, disk or network card that may be used; the rest catches up after a failure"""
    copies: float = 3
    """copies of each Kafka record; this machine has one, and each more is taken to cost a broker as much again"""
    kept_days: float = 3
    """days that Kafka keeps actions and predictions, whose tables keep them for good"""
    readers: float = 2
    """consumers that read all predictions, beside the archive"""
    broker_cores: float = 16
    """cores of a broker's machine"""
    broker_disk_bytes: float = 4e12
    """bytes of a broker's disks"""
    broker_disk_rate: float = 500e6
    """bytes a second that they write"""
    card_rate: float = 3.1e9
    """bytes a second of a network card, 25 Gbit"""
    manager_cores: float = 8
    """cores of a TaskManager's machine; a lane takes two, one for Java and one for Python"""
    shard_bytes: float = 16e9
    """bytes of memory of a Redis, of which half is for its rows: it forks to write its file"""
    commit_seconds: float = 60
    """seconds between two commits of the archive"""
    file_bytes: float = 128e6
    """bytes of a data file once merged"""
    checkpoint_seconds: float = 1
    """seconds between two checkpoints of score_events"""


@dataclass(frozen=True)
class Line:
    """A number of the page and how it comes about."""

    what: str
    number: str
    how: str


@dataclass(frozen=True)
class Limit:
    """Something that breaks: at how many actions a second (None: whenever what `at` says), and what moves it."""

    what: str
    rate: float | None
    at: str
    moved_by: str


def sizing(m: Measured, a: Assumed) -> dict[str, list[Line]]:
    """By part, what the assumed rate takes."""
    return {"Kafka": _kafka(m, a), "Flink": _flink(m, a), "Redis": _redis(m, a), "Iceberg": _iceberg(m, a)}


def lanes(m: Measured, a: Assumed) -> int:
    """Workers side by side that the rate takes; each reads one partition or more."""
    return math.ceil(a.rate * m.lane_us / 1e6 / a.busy)


def partitions(m: Measured, a: Assumed) -> int:
    """For each of the two topics: a power of two with room to double, since another number is a new topic and a rebuild.

    No fewer than slots of the archive, as each reads one or more.
    """
    return 1 << math.ceil(math.log2(max(2 * lanes(m, a), archivers(m, a))))


def archivers(m: Measured, a: Assumed) -> int:
    """Slots of the archive that the rate takes."""
    return math.ceil(a.rate * m.archive_us / 1e6 / a.busy)


def brokers(m: Measured, a: Assumed) -> int:
    """As many as the scarcest of cores, disk and network asks for, and no fewer than there are copies."""
    return max(int(a.copies), _broker_cores(m, a), _broker_writes(m, a), _broker_network(m, a), _broker_room(m, a))


def _broker_us(m: Measured, a: Assumed) -> float:
    return a.copies * m.scored_us["broker"] + m.archived_us.get("broker", 0.0)


def _broker_cores(m: Measured, a: Assumed) -> int:
    return math.ceil(a.rate * _broker_us(m, a) / 1e6 / a.busy / a.broker_cores)


def _written(m: Measured, a: Assumed) -> float:
    """Bytes a second that producers send."""
    return a.rate * sum(m.topic_bytes.values())


def _read(m: Measured, a: Assumed) -> float:
    """Bytes a second that consumers get: actions by scoring and archive, predictions by the archive and the readers."""
    return a.rate * (2 * m.topic_bytes[SOURCE_TOPIC] + (1 + a.readers) * m.topic_bytes[PREDICTIONS])


def _broker_writes(m: Measured, a: Assumed) -> int:
    return math.ceil(a.copies * _written(m, a) / a.busy / a.broker_disk_rate)


def _broker_network(m: Measured, a: Assumed) -> int:
    return math.ceil(((a.copies - 1) * _written(m, a) + _read(m, a)) / a.busy / a.card_rate)


def _broker_room(m: Measured, a: Assumed) -> int:
    return math.ceil(a.copies * _written(m, a) * a.kept_days * _DAY / a.busy / a.broker_disk_bytes)


def _kafka(m: Measured, a: Assumed) -> list[Line]:
    written, read, count = _written(m, a), _read(m, a), partitions(m, a)
    of_each = " + ".join(f"{size:.0f}" for size in m.topic_bytes.values())
    return [
        Line("written by producers", rate_text(written), f"{a.rate:,.0f} × ({of_each}) bytes of an action and its prediction, compressed"),
        Line("read by consumers", rate_text(read), f"actions twice (scoring, archive), predictions {1 + a.readers:.0f} times"),
        Line(
            "brokers by cores",
            f"{_broker_cores(m, a)}",
            f"{a.rate:,.0f} × ({a.copies:.0f} × {m.scored_us['broker']:.1f} + {m.archived_us.get('broker', 0.0):.1f}) µs / {a.busy} /"
            f" {a.broker_cores:.0f} cores",
        ),
        Line(
            "brokers by writing",
            f"{_broker_writes(m, a)}",
            f"{a.copies:.0f} × {rate_text(written)} / {a.busy} / {rate_text(a.broker_disk_rate)}",
        ),
        Line(
            "brokers by network",
            f"{_broker_network(m, a)}",
            f"({a.copies - 1:.0f} × {rate_text(written)} to followers + {rate_text(read)}) / {a.busy} / {rate_text(a.card_rate)} out",
        ),
        Line(
            "brokers by room",
            f"{_broker_room(m, a)}",
            f"{a.copies:.0f} × {rate_text(written)} × {a.kept_days:g} days / {a.busy} / {bytes_text(a.broker_disk_bytes)}",
        ),
        Line("**brokers**", f"**{brokers(m, a)}**", "the most of these"),
        Line(
            "**partitions** of each topic",
            f"**{count}**",
            f"{lanes(m, a)} lanes (below), doubled, or {archivers(m, a)} slots of the archive, up to a power of two",
        ),
        Line("partitions a broker leads", f"{2 * count / brokers(m, a):.0f}", f"2 × {count} / {brokers(m, a)}"),
    ]


def _flink(m: Measured, a: Assumed) -> list[Line]:
    wanted, each = lanes(m, a), max(1, int(a.manager_cores // 2))
    half = "the Python worker" if m.lane_us == m.scored_us["python workers"] else "Java"
    return [
        Line(
            "**lanes** = slots of score_events = Python workers",
            f"**{wanted}**",
            f"{a.rate:,.0f} × {m.lane_us:.1f} µs of {half}, the slower half, / {a.busy}",
        ),
        Line(
            "cores of Python",
            f"{_cores(m.scored_us['python workers'], a)}",
            f"{a.rate:,.0f} × {m.scored_us['python workers']:.1f} µs / {a.busy}",
        ),
        Line(
            "cores of Java", f"{_cores(m.scored_us['taskmanager'], a)}", f"{a.rate:,.0f} × {m.scored_us['taskmanager']:.1f} µs / {a.busy}"
        ),
        Line(
            "TaskManagers of score_events",
            f"{math.ceil(wanted / each) + 1}",
            f"{wanted} lanes / {each} of {a.manager_cores:.0f} cores each, and a spare one",
        ),
        Line("memory of the Python workers", bytes_text(wanted * m.worker_bytes), f"{wanted} × {bytes_text(m.worker_bytes)}"),
        Line(
            "slots of archive_topics",
            f"{archivers(m, a)}",
            f"{a.rate:,.0f} × {m.archive_us:.1f} µs of its slower half / {a.busy}",
        ),
        Line(
            "transactions a second",
            f"{2 * wanted / a.checkpoint_seconds:,.0f}",
            f"2 sinks (predictions, dead letters) × {wanted} lanes / {a.checkpoint_seconds:g} s",
        ),
        Line(
            "JobManager, cores",
            f"{_coordination(m, a):.1f}",
            f"{m.scored_us.get('jobmanager', 0.0):.1f} µs × {m.rate:,.0f} actions/s with {m.lanes} lanes a checkpoint each second,"
            f" for {wanted} lanes / {a.checkpoint_seconds:g} s",
        ),
    ]


def _coordination(m: Measured, a: Assumed) -> float:
    """Cores of the JobManager: what it does grows with tasks and checkpoints, not with actions."""
    return m.scored_us.get("jobmanager", 0.0) * m.rate / 1e6 / m.lanes * lanes(m, a) / a.checkpoint_seconds


def _redis(m: Measured, a: Assumed) -> list[Line]:
    by_cores, by_memory = _cores(m.scored_us["redis"], a), math.ceil(a.users * m.user_bytes / (a.shard_bytes / 2))
    return [
        Line("Redis by cores, one thread each", f"{by_cores}", f"{a.rate:,.0f} × {m.scored_us['redis']:.1f} µs / {a.busy}"),
        Line("rows in memory", bytes_text(a.users * m.user_bytes), f"{a.users:,.0f} users × {m.user_bytes:,.0f} bytes"),
        Line("Redis by memory", f"{by_memory}", f"{bytes_text(a.users * m.user_bytes)} / half of {bytes_text(a.shard_bytes)}"),
        Line("**Redis shards**", f"**{max(by_cores, by_memory)}**", "the more of these; a shard holds the users of whole partitions"),
        Line(
            "their files",
            bytes_text(a.users * m.user_file_bytes),
            f"{a.users:,.0f} × {m.user_file_bytes:,.0f} bytes, rewritten when they doubled",
        ),
    ]


def _iceberg(m: Measured, a: Assumed) -> list[Line]:
    count, size = partitions(m, a), sum(m.table_bytes.values())
    of_each = " + ".join(f"{one:.0f}" for one in m.table_bytes.values())
    a_day, commits = a.rate * size * _DAY, _DAY / a.commit_seconds
    return [
        Line("data a second", rate_text(a.rate * size), f"{a.rate:,.0f} × ({of_each}) bytes of an action and its prediction"),
        Line("data a day", bytes_text(a_day), f"that × {_DAY:,} s, merged"),
        Line("commits a day to each table", f"{commits:,.0f}", f"{_DAY:,} s / {a.commit_seconds:g} s"),
        Line(
            "files of one commit to two tables", f"{2 * count}", f"2 × {count} partitions, one day; more where events are of several days"
        ),
        Line(
            "size of a file of it",
            bytes_text(a.rate * size / 2 * a.commit_seconds / count),
            f"half of the data of {a.commit_seconds:g} s / {count}",
        ),
        Line("files a day, before merging", f"{2 * count * commits:,.0f}", f"{2 * count} × {commits:,.0f}"),
        Line(
            "files a day, merged",
            f"{max(2 * count, math.ceil(a_day / a.file_bytes)):,}",
            f"{bytes_text(a_day)} / {bytes_text(a.file_bytes)}, at least one a partition",
        ),
        Line("merging reads and writes", rate_text(2 * a.rate * size), "each byte once more"),
        Line(
            "metadata a day",
            bytes_text(2 * commits * m.commit_bytes * max(1.0, count / 4)),
            f"2 tables × {commits:,.0f} × {bytes_text(m.commit_bytes)}, measured with 4 partitions, × {count} / 4",
        ),
    ]


def limits(m: Measured, a: Assumed) -> list[Limit]:
    """What breaks, first what breaks first; those without a rate last."""
    lane, cores = 1e6 / m.lane_us, 2
    found = [
        Limit("one lane (the default)", lane, f"1 s / {m.lane_us:.1f} µs", "`score_events.parallelism`"),
        Limit(
            "this machine's 2 cores", cores * 1e6 / m.in_all_us, f"2 s / {m.in_all_us:.1f} µs of all processes", "more machines: Kubernetes"
        ),
        Limit(
            "these 2 cores where they archive, too",
            cores * 1e6 / (m.in_all_us + sum(m.archived_us.values())),
            f"2 s / ({m.in_all_us:.1f} + {sum(m.archived_us.values()):.1f}) µs",
            "an archive on another machine, or later: it catches up from the topics",
        ),
        Limit(
            "one slot of the archive (the default)",
            1e6 / m.archive_us,
            f"1 s / {m.archive_us:.1f} µs",
            "`archive_topics.parallelism`, up to one for each partition",
        ),
        Limit(
            "4 partitions, so 4 lanes",
            4 * lane,
            f"4 × {lane:,.0f}",
            "`partitions` of both contracts, before the first record: later a new topic and a rebuild",
        ),
        Limit(
            "one Redis, one thread",
            1e6 / m.scored_us["redis"],
            f"1 s / {m.scored_us['redis']:.1f} µs",
            "none today: `redis.host` names one. A shard for each range of partitions, since one script writes a batch's rows",
        ),
        Limit(
            "the keeper, one process that reads every answer",
            1e6 / m.looks_us["keeper"],
            f"1 s / {m.looks_us['keeper']:.1f} µs",
            "none today: without it, as in `infra/kubernetes/application`, nobody pulls the brake or notices a lost transaction",
        ),
        Limit(
            "the meter, one process that reads every action",
            1e6 / m.looks_us["meter"],
            f"1 s / {m.looks_us['meter']:.1f} µs",
            "`meter.every = 0` ends it; a larger number makes it fold less and read as much",
        ),
        Limit(
            "one broker's cores",
            a.broker_cores * 1e6 / _broker_us(m, a),
            f"{a.broker_cores:.0f} s / {_broker_us(m, a):.1f} µs with {a.copies:.0f} copies",
            "`kafka.bootstrap_servers`: a cluster",
        ),
        Limit(
            "how fast one broker's disk writes",
            a.broker_disk_rate / sum(m.topic_bytes.values()),
            f"{rate_text(a.broker_disk_rate)} / {sum(m.topic_bytes.values()):.0f} bytes",
            "brokers; `retention` of the contracts for its room",
        ),
        Limit(
            "the JobManager's coordination",
            a.checkpoint_seconds * 1e6 * m.lanes / max(1e-9, m.scored_us.get("jobmanager", 0.0) * m.rate) * a.busy / (m.lane_us / 1e6),
            f"one core at {_coordination(m, a):.1f} cores for {lanes(m, a)} lanes",
            "`score_events.checkpoint_interval`, and with it the wait until a prediction is committed",
        ),
        Limit(
            "Redis' 512 MB",
            None,
            f"{512e6 / m.user_bytes:,.0f} users, / {m.user_bytes:,.0f} bytes",
            "`redis.max_memory`; it refuses writes then, and scoring waits",
        ),
        Limit(
            "the SQLite catalog",
            None,
            "the second machine: it is a file, with one writer at a time",
            "`lake.rest_uri` and `lake.warehouse_uri`",
        ),
    ]
    return sorted(found, key=lambda limit: math.inf if limit.rate is None else limit.rate)


def _cores(microseconds: float, a: Assumed) -> int:
    return math.ceil(a.rate * microseconds / 1e6 / a.busy)


def rate_text(size: float) -> str:
    return f"{bytes_text(size)}/s"


def bytes_text(size: float) -> str:
    for unit, factor in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:,.3g} {unit}" if size < 1000 * factor else f"{size / factor:,.0f} {unit}"
    return f"{size:,.0f} bytes"
