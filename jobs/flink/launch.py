"""Start a job from inside its own program, whoever calls that: the command line or bare `flink run`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from confluent_kafka import KafkaException
from pyflink.table import ExplainDetail, StatementSet, StreamTableEnvironment

from infra.clock import system_clock
from infra.config import Settings, load_settings
from infra.errors import StreamhouseError
from infra.stack import brakes, flink_rest
from jobs import as_started, group_offsets
from jobs.begin import BEGINS, EXPLAINED, Begin, alone
from jobs.flink import environment
from jobs.flink.tables import transactional_prefix
from jobs.flink.transactions import abort_lingering
from jobs.lineage import flink_runs

_RESTORES = "execution.state-recovery.path"

Build = Callable[[StreamTableEnvironment, Settings, Begin], StatementSet]


def launch(
    name: str,
    configure: Callable[[Settings], Mapping[str, str]],
    build: Build,
    outputs: Sequence[str] = (),
    check: Callable[[Settings], None] = lambda settings: None,
) -> bool:
    """Submit the job `name`, behind what its outputs hold; `outputs` are the topics that it writes, in transactions unless told otherwise.

    `check` raises a StreamhouseError where what the job needs may not be used; nothing of the job has begun then.
    `--explain` prints the plan instead; `--release-brake` and `--accept-loss` say that a person has looked. False, after a sentence,
    where the job must not start. `jobs.submit` reads what is printed, so each line is out before the next.
    """
    print(f"starting {name}", flush=True)
    settings = load_settings()
    explains = "--explain" in sys.argv
    try:
        table_environment = environment.streaming(settings, name, configure(settings))
        if explains:
            print(build(table_environment, settings, EXPLAINED).explain(ExplainDetail.JSON_EXECUTION_PLAN))
            return True
        if environment.is_within_its_cluster(table_environment) and (running := flink_rest.running(settings, name)):
            # the JobManager failed over: Flink has the job back from its checkpoint, and calls this program again. What a start does
            # would take the transactions from under it that the checkpoint names
            print(f"{name} goes on as job {running} from its last checkpoint", flush=True)
            return True
        check(settings)
        with alone(settings, name, past_the_brake="--release-brake" in sys.argv):
            _start(table_environment, settings, name, build, outputs)
    except (StreamhouseError, KafkaException) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return False
    return True


def _start(table_environment: StreamTableEnvironment, settings: Settings, name: str, build: Build, outputs: Sequence[str]) -> None:
    if savepoint := table_environment.get_config().get(_RESTORES, ""):
        message = f"{name} goes on behind what its outputs hold, which no savepoint can know better ({savepoint}); start it without -s"
        raise StreamhouseError(message)
    started = time.monotonic()
    # also where this run writes at least once: an earlier one may have had transactions, and their answers must not come later
    for lingering in abort_lingering(settings, [transactional_prefix(topic) for topic in outputs]) if outputs else []:
        print(f"aborted transaction {lingering}, which an earlier run left open", flush=True)
    begin = BEGINS[name](settings, accept_loss="--accept-loss" in sys.argv)
    seconds = time.monotonic() - started
    with ThreadPoolExecutor(1) as pool:
        committed = pool.submit(group_offsets.commit, settings, name, begin.offsets)  # half a second, in which it sees that they stay
        statements = build(table_environment, settings, begin)
        committed.result()
    flink_rest.clear_checkpoints(settings, name)
    print(f"goes on behind its outputs: {begin.sentence} (read in {seconds:.1f} s)", flush=True)
    if "--release-brake" in sys.argv:
        brakes.release(settings, name, system_clock())  # not before: a start that was refused leaves it as it was
    client = statements.execute().get_job_client()
    assert client is not None
    job_id = str(client.get_job_id())
    as_started.note(settings, name)  # before it is expected to run: who starts it again needs to know
    flink_rest.note_started(settings, name, job_id)
    flink_runs.started(settings, name, job_id)
    print(f"submitted {name} as job {job_id}", flush=True)
