"""The step that answers records in a Python worker, written in Java (jobs/flink/java), for a job's program."""

from __future__ import annotations

import msgspec
from py4j.java_gateway import JavaPackage
from py4j.protocol import Py4JError
from pyflink.java_gateway import get_gateway
from pyflink.table import StreamTableEnvironment, Table

from infra.config import ScoreEvents
from infra.errors import StreamhouseError
from infra.stack.services import worker_python
from jobs.flink.frames import WORKER, Task

_OTHER_JAVA = StreamhouseError("Flink's client has not this project's Java, or an older one; run `./streamhouse down` and `up`")


def answers(table_environment: StreamTableEnvironment, records: Table, task: Task, tuning: ScoreEvents) -> Table:
    """The answers to records: is_prediction BOOLEAN (null: published already), record_key BYTES, record_value BYTES; in their order.

    `records`: record_key BYTES, record_value BYTES, topic_partition INT, topic_offset BIGINT, kafka_time TIMESTAMP_LTZ(3), replay BYTES.
    A checkpoint completes only when what was read before it is answered; after a restart what came later is asked again.

    Raises:
        StreamhouseError: Flink's client has not this Java, since its folder was made by an older or newer state of the project.

    """
    gateway = get_gateway()
    command = [worker_python(), "-m", WORKER]
    words = gateway.new_array(gateway.jvm.String, len(command))
    for i, word in enumerate(command):
        words[i] = word
    step = gateway.jvm.streamhouse.AnswerRecords
    told = msgspec.json.encode(task)
    try:
        if isinstance(step, JavaPackage):  # what Py4J takes each unknown name for
            raise _OTHER_JAVA
        j_table = step.answers(table_environment._j_tenv, records._j_table, words, told, tuning.batch_rows, tuning.gather_microseconds)
    except Py4JError as error:
        if "does not exist" not in str(error):
            raise
        raise _OTHER_JAVA from error
    return Table(j_table, table_environment)
