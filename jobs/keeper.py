"""The keeper: the watcher beside the jobs, a service like the others. What a person would do at night, it does.

    every second    a job that should run and does not, as after its JobManager died, is started again
    every 2 s       the answers that came: too many rejections pull the brake
    every 5 s       a job that completes no checkpoint for two thirds of its transactions' life is ended before they time out, and starts
                    again behind its outputs: what Flink would lose from its checkpoint is answered, and in order
    every 10 s      a record that was read and has had no answer for long, as after a transaction that timed out all the same: likewise
    every 5 s       a job that ended is told to have ended, as lineage
    every minute    receipts of new snapshots are copied to the ledger before the snapshots expire

Each of these is asked of the services anew, so a keeper that is killed goes on where it was. It holds nothing that others need.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from infra.clock import system_clock
from infra.config import Settings, load_settings
from infra.errors import StreamhouseError
from infra.stack import brakes, flink_rest, health
from jobs import group_offsets
from jobs.answered import DEAD_LETTERS, Answered, answered, first_unanswered
from jobs.as_started import as_started
from jobs.brake import Recent, verdict
from jobs.duty import Duty
from jobs.lineage import flink_runs
from jobs.scoring_parts import SOURCE_TOPIC
from jobs.submit import SCORER, submit_all
from lakehouse.ledger import record

log = logging.getLogger("keeper")

_LOOK, _ANSWERS, _OVERDUE, _LOST, _ENDED = 1.0, 2.0, 5.0, 10.0, 5.0  # seconds between two looks
_OVERDUE_SHARE = 2 / 3  # of the life of a transaction; what is left must do to end the job
_SLOW_SECONDS = 2.0  # an answer of the broker that takes longer came after it was away
_LONGEST_PAUSE = 30.0  # seconds between two attempts to start a job


@dataclass
class Attempt:
    """The start of one job: how often it failed in a row, and when the next one is due."""

    failed: int = 0
    due: float = 0.0
    running: Future[dict[str, str | StreamhouseError]] | None = None  # the same for jobs that are started together


_ENDING = ("CANCELLING", "FAILING")


@dataclass
class Keeper:
    """What a keeper remembers between two looks; each part belongs to one duty, `known` is passed on. Times are monotonic seconds."""

    patience: float
    attempts: dict[str, Attempt] = field(default_factory=dict)
    recent: Recent = field(default_factory=Recent)
    known: Answered | None = None
    stuck: dict[int, tuple[int, float]] = field(default_factory=dict)  # partition -> first unanswered offset, and since when
    away: float = 0.0  # when the broker last did not answer within seconds
    ended: float = 0.0  # when it last ended a job for its lost records


def main() -> None:
    """Keep until the supervisor ends this."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    settings = load_settings()
    keeper = Keeper(patience=float(settings.keeper.lost_seconds))
    with ThreadPoolExecutor(8) as pool:
        duties = [
            Duty(_LOOK, lambda: restart_missing(settings, keeper, pool, time.monotonic())),
            Duty(_ANSWERS, lambda: watch_answers(settings, keeper)),
            Duty(_OVERDUE, lambda: end_overdue(settings)),
            Duty(_LOST, lambda: find_lost(settings, keeper, time.monotonic())),
            Duty(_ENDED, lambda: flink_runs.look(settings)),
            Duty(float(settings.keeper.receipts_seconds), lambda: copy_receipts(settings)),
        ]
        while True:
            for duty in duties:
                duty.look(pool, time.monotonic())
            health.beat(settings, "keeper")
            time.sleep(_LOOK / 4)


def restart_missing(settings: Settings, keeper: Keeper, pool: ThreadPoolExecutor, now: float) -> None:
    """Start what should run and does not, all that is due by one client; what failed is tried again after 2, 4, 8 ... 30 seconds."""
    for name, attempt in keeper.attempts.items():
        if attempt.running is not None and attempt.running.done():
            failure = _failure(name, attempt.running)
            attempt.running = None
            attempt.failed = attempt.failed + 1 if failure else 0
            attempt.due = now + min(2.0**attempt.failed, _LONGEST_PAUSE) if failure else now
            log.info("%s", failure or f"{name} is back")
    if not flink_rest.expected(settings):
        return
    known = flink_rest.jobs(settings)
    flink_rest.forget_ended(settings, known)
    missing = flink_rest.missing(settings, known)
    if not missing or not _could_run(settings):
        return
    attempts = {name: keeper.attempts.setdefault(name, Attempt()) for name in missing if name not in brakes.pulled(settings)}
    if due := {name: attempt for name, attempt in attempts.items() if attempt.running is None and now >= attempt.due}:
        log.info("%s: expected to run, got nothing of it; starting", " and ".join(due))
        started = pool.submit(_start, settings, list(due))
        for attempt in due.values():
            attempt.running = started


def _start(settings: Settings, names: list[str]) -> dict[str, str | StreamhouseError]:
    """Start them as a person had started them, whatever settings this keeper came up with."""
    return submit_all(as_started(settings, names), names)


def _failure(name: str, started: Future[dict[str, str | StreamhouseError]]) -> BaseException | None:
    if error := started.exception():
        return error
    outcome = started.result()[name]
    return outcome if isinstance(outcome, StreamhouseError) else None


def _could_run(settings: Settings) -> bool:
    is_broker_there = not settings.kafka.is_embedded or health.answers(settings, "broker")
    return is_broker_there and flink_rest.slots(settings)[1] > 0  # of TaskManagers by any name: on Kubernetes they have their pods'


def watch_answers(settings: Settings, keeper: Keeper) -> None:
    """Count recent answers, and pull the brake where the rule says so; a job that it holds already is stopped, if it still runs."""

    def heard(topic: str, ms: int) -> None:
        keeper.recent.add(ms, is_dead_letter=topic == DEAD_LETTERS)

    began = time.monotonic()
    try:
        keeper.known = answered(settings, heard)
    except Exception:
        keeper.away = time.monotonic()
        raise
    if time.monotonic() - began > _SLOW_SECONDS:
        keeper.away = time.monotonic()
    # a release while the answers were read makes all that was heard of it old
    since = max(brakes.released_ms(settings, SCORER), system_clock() - settings.brake.seconds * 1000)
    keeper.recent.forget(since)
    if (sentence := verdict(keeper.recent, settings.brake)) and brakes.pull(settings, SCORER, sentence, since):
        log.error("the brake stops %s: %s", SCORER, sentence)
    if SCORER in brakes.pulled(settings) and (job := flink_rest.alive(settings, SCORER)) and job.state not in _ENDING:
        try:
            log.info("%s stopped with a savepoint: %s", SCORER, flink_rest.stop_with_savepoint(settings, job))
        except flink_rest.NoSavepointError as error:  # as where a worker hangs; what was not committed is answered by the next start
            log.error("%s; it is ended without one", error)
            flink_rest.forget(settings, SCORER)
            flink_rest.cancel(settings, job)


def end_overdue(settings: Settings) -> None:
    """End a job whose last checkpoint is so old that its transactions would time out soon; `restart_missing` starts it again.

    A checkpoint names transactions that are committed when the job is restored from it. Where the broker has aborted them by
    then, Flink goes on without them, and their records would be answered behind later ones.
    """
    most = settings.score_events.transaction_timeout_seconds * _OVERDUE_SHARE
    for job in flink_rest.jobs(settings, details=True):
        if job.name == SCORER and job.is_alive and (job.checkpoint_age or 0.0) > most:
            log.error(
                "%s completed no checkpoint for %.0f s, and its transactions would time out; it starts again", SCORER, job.checkpoint_age
            )
            _start_anew(settings, job)


def _start_anew(settings: Settings, job: flink_rest.Job) -> None:
    flink_rest.note_started(settings, job.name, "")
    flink_rest.cancel(settings, job)


def find_lost(settings: Settings, keeper: Keeper, now: float) -> None:
    """End a job that was given a record and gave no answer for long; `restart_missing` starts it behind its outputs.

    The group's offsets are committed with a checkpoint, and so are the answers: where the offsets are ahead for long, a
    transaction was lost. As long as the broker is away, neither can be committed, and its time does not count.
    """
    job = flink_rest.alive(settings, SCORER)
    if job is None or job.state != "RUNNING" or keeper.known is None:
        keeper.stuck.clear()
        return
    first, _ = first_unanswered(settings, keeper.known)
    read = group_offsets.committed(settings, SCORER, [(SOURCE_TOPIC, partition) for partition in first])
    stuck = {p: offset for p, offset in first.items() if offset < read.get((SOURCE_TOPIC, p), 0)}
    keeper.stuck = {p: keeper.stuck[p] if keeper.stuck.get(p, (-1, 0.0))[0] == offset else (offset, now) for p, offset in stuck.items()}
    if now - keeper.ended > 10 * keeper.patience:
        keeper.patience = float(settings.keeper.lost_seconds)
    for partition, (offset, since) in keeper.stuck.items():
        if now - max(since, keeper.away) < keeper.patience:
            continue
        log.error(
            "record %d of %s, partition %d, was read and has had no answer for %.0f s: its transaction is lost;"
            " %s starts again and answers it",
            *(offset, SOURCE_TOPIC, partition, now - since, SCORER),
        )
        keeper.patience, keeper.ended = 2 * keeper.patience, now  # what comes back is not mended by starting again and again
        _start_anew(settings, job)
        keeper.stuck.clear()
        return


def copy_receipts(settings: Settings) -> None:
    """Bring the ledger up to date."""
    if count := record(settings):
        log.info("%d receipts copied to the ledger", count)


if __name__ == "__main__":
    main()
