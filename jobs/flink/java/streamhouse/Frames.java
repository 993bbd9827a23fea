package streamhouse;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/** Records and answers as bytes, column behind column; jobs/flink/frames.py tells how, and is the other end. */
final class Frames {
    private static final int FORMAT = 1; // to be raised here and there with each change: a stack that is up keeps its Java
    private static final int ROW_BYTES = Integer.BYTES + 2 * Long.BYTES + 3 * Integer.BYTES;
    private static final int BEGINNING = 1 << 20;

    private Frames() {}

    /** A buffer of at least so many bytes: the given one where it is as large. */
    static ByteBuffer room(ByteBuffer given, int bytes) {
        if (given != null && given.capacity() >= bytes) {
            return given.clear();
        }
        // by powers of two: frames that grow little by little would leave a buffer each, until the next collection
        int size = bytes > 1 << 30 ? bytes : Math.max(BEGINNING, Integer.highestOneBit(Math.max(1, bytes - 1)) << 1);
        return ByteBuffer.allocateDirect(size).order(ByteOrder.LITTLE_ENDIAN);
    }

    static ByteBuffer task(byte[] task) {
        return room(null, 2 * Integer.BYTES + task.length).putInt(Integer.BYTES + task.length).putInt(FORMAT).put(task).flip();
    }

    /** The frame of a batch, to be read from its beginning; in `reused` where there is room for it. */
    static ByteBuffer asked(List<Asked> batch, ByteBuffer reused) {
        int size = Integer.BYTES + batch.size() * ROW_BYTES;
        for (Asked asked : batch) {
            size = Math.addExact(size, asked.size());
        }
        ByteBuffer frame = room(reused, Math.addExact(size, Integer.BYTES));
        frame.putInt(size).putInt(batch.size());
        for (Asked asked : batch) {
            frame.putInt(asked.partition());
        }
        for (Asked asked : batch) {
            frame.putLong(asked.offset());
        }
        for (Asked asked : batch) {
            frame.putLong(asked.kafkaMs());
        }
        for (Asked asked : batch) {
            frame.putInt(asked.key() == null ? -1 : asked.key().length);
        }
        for (Asked asked : batch) {
            frame.putInt(asked.value() == null ? -1 : asked.value().length);
        }
        for (Asked asked : batch) {
            frame.putInt(asked.replay() == null ? -1 : asked.replay().length);
        }
        for (Asked asked : batch) {
            put(frame, asked.key());
        }
        for (Asked asked : batch) {
            put(frame, asked.value());
        }
        for (Asked asked : batch) {
            put(frame, asked.replay());
        }
        return frame.flip();
    }

    /**
     * The answers to a batch of so many records.
     *
     * @throws IOException the worker says why it cannot go on, or answers another number
     */
    static List<Answer> answers(ByteBuffer frame, int records) throws IOException {
        int n = frame.getInt();
        if (n < 0) {
            throw new IOException("the Python worker: " + StandardCharsets.UTF_8.decode(frame));
        }
        if (n != records) {
            throw new IOException("the Python worker answered " + n + " records, expected " + records);
        }
        byte[] kinds = new byte[n];
        frame.get(kinds);
        int[] keyLengths = ints(frame, n);
        int[] valueLengths = ints(frame, n);
        byte[][] keys = texts(frame, keyLengths);
        byte[][] values = texts(frame, valueLengths);
        List<Answer> answers = new ArrayList<>(n);
        for (int i = 0; i < n; i++) {
            answers.add(new Answer(kinds[i] < 0 ? null : kinds[i] == 1, keys[i], values[i]));
        }
        return answers;
    }

    private static void put(ByteBuffer frame, byte[] bytes) {
        if (bytes != null) {
            frame.put(bytes);
        }
    }

    private static int[] ints(ByteBuffer frame, int n) {
        int[] found = new int[n];
        frame.asIntBuffer().get(found);
        frame.position(frame.position() + n * Integer.BYTES);
        return found;
    }

    private static byte[][] texts(ByteBuffer frame, int[] lengths) {
        byte[][] found = new byte[lengths.length][];
        for (int i = 0; i < lengths.length; i++) {
            if (lengths[i] >= 0) {
                found[i] = new byte[lengths[i]];
                frame.get(found[i]);
            }
        }
        return found;
    }
}
