package streamhouse;

import java.io.EOFException;
import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Consumer;

/**
 * A Python process (jobs/flink/score_worker.py), a socket to it, and the two threads that write and read there.
 *
 * <p>The task calls ask, answered, isFull, isIdle and close; answers and the first failure are told to it from the threads.
 */
final class Worker {
    private static final int START_SECONDS = 120;
    private static final long BATCH_BYTES = 8L << 20; // or a backlog of the largest records would be frames of gigabytes

    private final Process process;
    private final SocketChannel channel;
    private final int batchRows;
    private final long gatherNanoseconds;
    private final int enough; // so many are sent while the worker is still busy, to be at hand when it is not
    private final Consumer<List<Answer>> answers;
    private final Consumer<Throwable> failed;
    private int unanswered; // the task's alone: asked, and not handed on yet
    private long unansweredBytes; // guarded by this, as what follows
    private final ArrayDeque<Asked> waiting = new ArrayDeque<>();
    private final ArrayDeque<Sent> sent = new ArrayDeque<>(); // oldest first
    private boolean isOver;

    private record Sent(int rows, long bytes) {}

    Worker(
            List<String> command,
            byte[] task,
            int batchRows,
            int gatherMicroseconds,
            Consumer<List<Answer>> answers,
            Consumer<Throwable> failed)
            throws Exception {
        this.batchRows = batchRows;
        this.gatherNanoseconds = TimeUnit.MICROSECONDS.toNanos(gatherMicroseconds);
        this.enough = Math.max(1, batchRows / 4);
        this.answers = answers;
        this.failed = failed;
        Path folder = Files.createTempDirectory("answers"); // nobody else may enter it
        Path socket = folder.resolve("socket");
        Process started = null;
        SocketChannel accepted = null;
        try (ServerSocketChannel server = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
            server.bind(UnixDomainSocketAddress.of(socket));
            server.configureBlocking(false);
            List<String> words = new ArrayList<>(command);
            words.add(socket.toString());
            started = new ProcessBuilder(words)
                    .redirectOutput(ProcessBuilder.Redirect.INHERIT)
                    .redirectError(ProcessBuilder.Redirect.INHERIT)
                    .start();
            accepted = accepted(server, started);
            write(accepted, Frames.task(task));
            process = started;
            channel = accepted;
            thread("answers-asked", this::send);
            thread("answers-read", this::read);
        } catch (Throwable error) { // of memory and threads too: nobody else knows the process yet
            synchronized (this) {
                isOver = true;
                notifyAll();
            }
            end(started, accepted);
            throw error;
        } finally {
            delete(socket);
            delete(folder);
        }
    }

    /** The task may ask more only where this is false; so the heap holds a bounded number of bytes. */
    synchronized boolean isFull() {
        return unanswered >= 2 * batchRows || unansweredBytes >= 2 * BATCH_BYTES;
    }

    /** Whether everything that was asked is handed on. */
    boolean isIdle() {
        return unanswered == 0;
    }

    void ask(Asked asked) {
        unanswered++;
        synchronized (this) {
            unansweredBytes += asked.size();
            waiting.add(asked);
            if (waiting.size() == 1 || waiting.size() == enough) {
                notifyAll();
            }
        }
    }

    /** The task has handed so many answers on. */
    void answered(int rows) {
        unanswered -= rows;
    }

    void close() {
        synchronized (this) {
            isOver = true;
            notifyAll();
        }
        end(process, channel);
    }

    private void send() {
        try {
            ByteBuffer frame = null;
            for (List<Asked> batch = next(); !batch.isEmpty(); batch = next()) {
                frame = Frames.asked(batch, frame);
                write(channel, frame);
            }
        } catch (IOException ignored) {
            // the other end is gone, and what it said last is still to be read: that is the failure to tell
        } catch (Throwable error) {
            fail(error);
        }
    }

    /** What waits, as soon as it is time; empty at the end. */
    private List<Asked> next() throws InterruptedException {
        synchronized (this) {
            while (!isOver && !isTime()) {
                wait();
            }
        }
        if (!isEnough()) {
            LockSupport.parkNanos(gatherNanoseconds); // what one fetch from Kafka brings is asked meanwhile
        }
        synchronized (this) {
            List<Asked> batch = new ArrayList<>(Math.min(waiting.size(), batchRows));
            long bytes = 0;
            while (!isOver && !waiting.isEmpty() && batch.size() < batchRows && bytes < BATCH_BYTES) {
                Asked asked = waiting.poll();
                bytes += asked.size();
                batch.add(asked);
            }
            if (!batch.isEmpty()) {
                sent.add(new Sent(batch.size(), bytes));
            }
            return batch;
        }
    }

    private synchronized boolean isEnough() {
        return waiting.size() >= batchRows;
    }

    private boolean isTime() {
        return sent.isEmpty() ? !waiting.isEmpty() : sent.size() == 1 && waiting.size() >= enough;
    }

    private void read() {
        try {
            ByteBuffer frame = null;
            while (true) {
                frame = Frames.room(frame, Integer.BYTES).limit(Integer.BYTES);
                fill(frame);
                int size = frame.getInt(0);
                frame = Frames.room(frame, size).limit(size);
                fill(frame);
                Sent batch;
                synchronized (this) {
                    batch = sent.peek();
                }
                List<Answer> found = Frames.answers(frame.flip(), batch == null ? 0 : batch.rows);
                if (batch == null) {
                    throw new IOException("the Python worker answered what it was not asked");
                }
                synchronized (this) {
                    sent.poll();
                    unansweredBytes -= batch.bytes;
                    notifyAll();
                }
                answers.accept(found);
            }
        } catch (Throwable error) {
            fail(error);
        }
    }

    private void fill(ByteBuffer buffer) throws IOException {
        try {
            while (buffer.hasRemaining()) {
                if (channel.read(buffer) < 0) {
                    throw new EOFException("end of the socket");
                }
            }
        } catch (IOException error) {
            throw new IOException("the Python worker ended; what it said last stands in the TaskManager's output", error);
        }
    }

    private void fail(Throwable error) {
        synchronized (this) {
            if (isOver) {
                return; // the task ended it, or knows already
            }
            isOver = true;
            notifyAll();
        }
        try {
            failed.accept(error);
        } finally {
            end(process, channel);
        }
    }

    private static void write(SocketChannel channel, ByteBuffer frame) throws IOException {
        while (frame.hasRemaining()) {
            channel.write(frame);
        }
    }

    private static SocketChannel accepted(ServerSocketChannel server, Process process) throws IOException, InterruptedException {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(START_SECONDS);
        while (true) {
            SocketChannel accepted = server.accept();
            if (accepted != null) {
                return accepted;
            }
            if (!process.isAlive()) {
                throw new IOException("the Python worker ended at its start; why stands in the TaskManager's output");
            }
            if (System.nanoTime() > deadline) {
                throw new IOException("the Python worker did not start within " + START_SECONDS + " s");
            }
            Thread.sleep(2);
        }
    }

    private static void end(Process process, SocketChannel channel) {
        if (process != null) {
            process.destroyForcibly();
        }
        try {
            if (channel != null) {
                channel.close();
            }
        } catch (IOException ignored) {
            // it is closed
        }
    }

    private static void delete(Path path) {
        try {
            Files.deleteIfExists(path);
        } catch (IOException ignored) {
            // an empty folder more in a place that is cleaned
        }
    }

    private static void thread(String name, Runnable run) {
        Thread thread = new Thread(run, name);
        thread.setDaemon(true);
        thread.start();
    }
}
