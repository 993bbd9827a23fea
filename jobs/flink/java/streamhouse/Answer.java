package streamhouse;

/** What becomes of a record: a prediction, a dead letter, or, where isPrediction is null, nothing: its answer is published already. */
record Answer(Boolean isPrediction, byte[] key, byte[] value) {}
