package streamhouse;

import java.util.HashSet;
import java.util.Map;
import java.util.Objects;
import java.util.Set;

import org.apache.iceberg.MetadataUpdate;
import org.apache.iceberg.Snapshot;
import org.apache.iceberg.TableMetadata;
import org.apache.iceberg.TableOperations;
import org.apache.iceberg.encryption.EncryptionManager;
import org.apache.iceberg.exceptions.ValidationException;
import org.apache.iceberg.flink.sink.SinkUtil;
import org.apache.iceberg.io.FileIO;
import org.apache.iceberg.io.LocationProvider;

/**
 * A table's operations that refuse a commit of Flink's sink once another process has committed for the same operator of the same job.
 *
 * <p>The sink asks the table that it has loaded which checkpoint was committed last, once, and then commits onto whatever snapshot is the
 * newest by then (apache/iceberg#14425). So a TaskManager that stood still in between, and wakes up beside its successor, would add files
 * that the successor has committed, or the successor those that the late one has. Here the newest snapshots are asked again in each
 * attempt, and the swap in the catalog that follows is against the very metadata that was asked: nobody slips in between.
 *
 * <p>Any commit of another's counts, not only one of this checkpoint or a later: what comes as checkpoint 8 may hold the files of 7.
 * Whoever is refused and still wanted is restarted by Flink, loads the table anew, and commits what it lacks.
 *
 * <p>After a ValidationException Iceberg does not try again, and deletes the manifests of its attempts, which no table has; no data file.
 */
final class FencingTableOperations implements TableOperations {
    private final TableOperations operations;
    private final String table;
    private final Set<Long> own = new HashSet<>(); // tried since: one may be there, though the catalog's answer was lost
    private TableMetadata known; // as loaded, then as of the sink's last commit here

    FencingTableOperations(TableOperations operations, String table) {
        this.operations = operations;
        this.table = table;
        this.known = operations.current();
    }

    @Override
    public void commit(TableMetadata base, TableMetadata metadata) {
        boolean ofTheSink = false;
        for (MetadataUpdate change : metadata.changes()) {
            if (change instanceof MetadataUpdate.AddSnapshot added && isOfTheSink(added.snapshot())) {
                refuseAfterAnother(added.snapshot(), base);
                own.add(added.snapshot().snapshotId());
                ofTheSink = true;
            }
        }
        operations.commit(base, metadata);
        if (ofTheSink) {
            known = metadata;
            own.clear();
        }
    }

    private void refuseAfterAnother(Snapshot added, TableMetadata base) {
        // along its own branch, as far back as snapshots have not expired
        Snapshot last = before(added, base);
        while (last != null && !(isOfTheSink(last) && isOfOneOperator(last, added))) {
            last = before(last, base);
        }
        if (last != null && known.snapshot(last.snapshotId()) == null && !own.contains(last.snapshotId())) {
            throw new ValidationException(
                    "%s: checkpoint %s of operator %s of job %s is refused: since this process asked which checkpoint was committed last,"
                            + " another one has committed checkpoint %s of the same operator (snapshot %d). One of the two was given up and"
                            + " goes on late, and files of this checkpoint could be added twice. Nothing is lost: where this process is not"
                            + " the late one, Flink restarts it, and it commits what the table lacks",
                    table,
                    added.summary().get(SinkUtil.MAX_COMMITTED_CHECKPOINT_ID),
                    added.summary().get(SinkUtil.OPERATOR_ID),
                    added.summary().get(SinkUtil.FLINK_JOB_ID),
                    last.summary().get(SinkUtil.MAX_COMMITTED_CHECKPOINT_ID),
                    last.snapshotId());
        }
    }

    private static Snapshot before(Snapshot snapshot, TableMetadata base) {
        return snapshot.parentId() == null ? null : base.snapshot(snapshot.parentId());
    }

    private static boolean isOfTheSink(Snapshot snapshot) {
        Map<String, String> summary = snapshot.summary();
        return summary != null && summary.containsKey(SinkUtil.FLINK_JOB_ID) && summary.containsKey(SinkUtil.MAX_COMMITTED_CHECKPOINT_ID);
    }

    /** As the sink itself compares them. */
    private static boolean isOfOneOperator(Snapshot earlier, Snapshot later) {
        String operator = earlier.summary().get(SinkUtil.OPERATOR_ID);
        return earlier.summary().get(SinkUtil.FLINK_JOB_ID).equals(later.summary().get(SinkUtil.FLINK_JOB_ID))
                && (operator == null || Objects.equals(operator, later.summary().get(SinkUtil.OPERATOR_ID)));
    }

    @Override
    public TableMetadata current() {
        return operations.current();
    }

    @Override
    public TableMetadata refresh() {
        return operations.refresh();
    }

    @Override
    public FileIO io() {
        return operations.io();
    }

    @Override
    public EncryptionManager encryption() {
        return operations.encryption();
    }

    @Override
    public String metadataFileLocation(String fileName) {
        return operations.metadataFileLocation(fileName);
    }

    @Override
    public LocationProvider locationProvider() {
        return operations.locationProvider();
    }

    @Override
    public TableOperations temp(TableMetadata uncommittedMetadata) {
        return operations.temp(uncommittedMetadata);
    }

    @Override
    public long newSnapshotId() {
        return operations.newSnapshotId();
    }

    @Override
    public boolean requireStrictCleanup() {
        return operations.requireStrictCleanup();
    }
}
