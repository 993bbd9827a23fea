package streamhouse;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.RejectedExecutionException;

import org.apache.flink.api.common.operators.MailboxExecutor;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.AbstractStreamOperatorFactory;
import org.apache.flink.streaming.api.operators.BoundedOneInput;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperatorFactory;
import org.apache.flink.streaming.api.operators.StreamOperator;
import org.apache.flink.streaming.api.operators.StreamOperatorParameters;
import org.apache.flink.streaming.api.operators.legacy.YieldingOperatorFactory;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.api.Table;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.runtime.typeutils.InternalTypeInfo;
import org.apache.flink.table.types.DataType;
import org.apache.flink.util.ExceptionUtils;
import org.apache.flink.util.function.ThrowingRunnable;

/**
 * The scoring path as a step of Flink's: records go to a Python worker many at a time, and come back answered, in their order.
 *
 * <p>PyFlink's own functions gather bundles and hold the task still while one is answered. Here the worker gets whatever has come while it
 * answered what came before: a few records at rest, thousands under load, and none waits for a batch to fill.
 *
 * <p>A checkpoint waits until everything that was read is answered and handed on, as it does with PyFlink: so an offset that is committed
 * means an answer that is committed, and no checkpoint holds records. A worker that ends, or says why it cannot go on, fails the task at
 * once; what becomes of that is the restart strategy's to say.
 */
public final class AnswerRecords extends AbstractStreamOperator<RowData>
        implements OneInputStreamOperator<RowData, RowData>, BoundedOneInput {
    private static final long serialVersionUID = 1;
    private static final DataType ASKED = DataTypes.ROW(
                    DataTypes.FIELD("record_key", DataTypes.BYTES()),
                    DataTypes.FIELD("record_value", DataTypes.BYTES()),
                    DataTypes.FIELD("topic_partition", DataTypes.INT()),
                    DataTypes.FIELD("topic_offset", DataTypes.BIGINT()),
                    DataTypes.FIELD("kafka_time", DataTypes.TIMESTAMP_LTZ(3)),
                    DataTypes.FIELD("replay", DataTypes.BYTES()))
            .bridgedTo(RowData.class);
    private static final DataType ANSWERED = DataTypes.ROW(
                    DataTypes.FIELD("is_prediction", DataTypes.BOOLEAN()),
                    DataTypes.FIELD("record_key", DataTypes.BYTES()),
                    DataTypes.FIELD("record_value", DataTypes.BYTES()))
            .bridgedTo(RowData.class);

    private final MailboxExecutor mailbox;
    private final List<String> command;
    private final byte[] task;
    private final int batchRows;
    private final int gatherMicroseconds;
    private transient Worker worker;
    private transient StreamRecord<RowData> out;

    private AnswerRecords(StreamOperatorParameters<RowData> parameters, Factory made) {
        super(parameters);
        this.mailbox = parameters.getMailboxExecutor();
        this.command = made.command;
        this.task = made.task;
        this.batchRows = made.batchRows;
        this.gatherMicroseconds = made.gatherMicroseconds;
    }

    /**
     * The answers to a table of records (record_key, record_value, topic_partition, topic_offset, kafka_time, replay), as a table of
     * is_prediction, which is null where none shall be published, record_key and record_value.
     *
     * @param command starts a worker, which gets the path of a socket as its last word
     * @param task what the worker needs to know, as it comes
     * @param batchRows how many records it gets at a time at most
     * @param gatherMicroseconds how long it is waited for more once there is one
     */
    public static Table answers(StreamTableEnvironment tables, Table records, String[] command, byte[] task, int batchRows, int gatherMicroseconds) {
        DataStream<RowData> asked = tables.toDataStream(records, ASKED);
        return tables.fromDataStream(asked.transform(
                "answer_records", InternalTypeInfo.of(ANSWERED.getLogicalType()), new Factory(List.of(command), task, batchRows, gatherMicroseconds)));
    }

    @Override
    public void open() throws Exception {
        super.open();
        out = new StreamRecord<>(null);
        worker = new Worker(command, task, batchRows, gatherMicroseconds, this::answered, this::failed);
    }

    @Override
    public void processElement(StreamRecord<RowData> element) throws Exception {
        RowData row = element.getValue();
        Asked asked = new Asked(
                bytes(row, 0), bytes(row, 1), row.getInt(2), row.getLong(3), row.getTimestamp(4, 3).getMillisecond(), bytes(row, 5));
        while (worker.isFull()) {
            mailbox.yield();
        }
        worker.ask(asked);
    }

    @Override
    public void prepareSnapshotPreBarrier(long checkpointId) throws Exception {
        drain();
    }

    @Override
    public void endInput() throws Exception {
        drain();
    }

    @Override
    public void close() throws Exception {
        if (worker != null) {
            worker.close();
        }
        super.close();
    }

    private void drain() throws InterruptedException {
        while (!worker.isIdle()) {
            mailbox.yield();
        }
    }

    /** Called by the worker's thread; what is done with them is the task's. */
    private void answered(List<Answer> answers) {
        whenTheTaskHasTime("answers of a Python worker", () -> {
            for (Answer answer : answers) {
                output.collect(out.replace(GenericRowData.of(answer.isPrediction(), answer.key(), answer.value())));
            }
            worker.answered(answers.size());
        });
    }

    /** Called by the worker's threads. */
    private void failed(Throwable error) {
        whenTheTaskHasTime("failure of a Python worker", () -> ExceptionUtils.rethrowException(error));
    }

    private void whenTheTaskHasTime(String what, ThrowingRunnable<Exception> run) {
        try {
            mailbox.execute(run, what);
        } catch (RejectedExecutionException ignored) {
            // the task is at its end, and what was read since its last checkpoint is read again
        }
    }

    private static byte[] bytes(RowData row, int field) {
        return row.isNullAt(field) ? null : row.getBinary(field);
    }

    private static final class Factory extends AbstractStreamOperatorFactory<RowData>
            implements OneInputStreamOperatorFactory<RowData, RowData>, YieldingOperatorFactory<RowData> {
        private static final long serialVersionUID = 1;
        private final ArrayList<String> command;
        private final byte[] task;
        private final int batchRows;
        private final int gatherMicroseconds;

        Factory(List<String> command, byte[] task, int batchRows, int gatherMicroseconds) {
            this.command = new ArrayList<>(command);
            this.task = task;
            this.batchRows = batchRows;
            this.gatherMicroseconds = gatherMicroseconds;
        }

        @Override
        @SuppressWarnings("unchecked")
        public <T extends StreamOperator<RowData>> T createStreamOperator(StreamOperatorParameters<RowData> parameters) {
            return (T) new AnswerRecords(parameters, this);
        }

        @Override
        @SuppressWarnings("rawtypes")
        public Class<? extends StreamOperator> getStreamOperatorClass(ClassLoader classLoader) {
            return AnswerRecords.class;
        }
    }
}
