package streamhouse;

/** One record as it lies in the topic; key, value and the header of one that was sent again may be null. */
record Asked(byte[] key, byte[] value, int partition, long offset, long kafkaMs, byte[] replay) {
    int size() {
        return length(key) + length(value) + length(replay);
    }

    static int length(byte[] bytes) {
        return bytes == null ? 0 : bytes.length;
    }
}
