"""The scoring job in this process: the very path, over a broker's topics, exactly once by transactions, with a store in memory."""

from __future__ import annotations

import random

from confluent_kafka import Producer, TopicPartition

from features.enrich import Enricher
from features.memory_store import MemoryStore
from infra.config import Settings
from infra.contracts.load import load_contracts
from jobs.committed_records import read_to_end
from jobs.scoring_parts import SOURCE_TOPIC, as_records, model, rules
from jobs.scoring_path import answer

_NOW_MS = 1_710_325_333_000


class Scorer:
    """Answers what was committed since it last did."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._rules, self._model = settings, rules(), model(settings)
        self._positions = dict.fromkeys(range(self._rules.partitions), 0)
        self._enrich = Enricher(MemoryStore(), lambda *_: iter(()), lambda _: 0, lambda _: None, wait_seconds=0)
        self._producer = Producer(
            {
                **settings.kafka.client(),
                "transactional.id": "scorer",
                "compression.type": "lz4",
                "message.max.bytes": 2 * load_contracts().topics[SOURCE_TOPIC].max_message_bytes,
            }
        )
        self._producer.list_topics(timeout=30)  # once it is connected, the next takes no half second
        self._producer.init_transactions(30)

    def run(self, rng: random.Random | None = None) -> int:
        """Answer up to the topic's end; how many records. With `rng`, now and then a transaction fails and its records are read again."""
        answered = 0
        while True:
            start = [TopicPartition(SOURCE_TOPIC, partition, offset) for partition, offset in self._positions.items()]
            messages = next(read_to_end(self._settings, start), [])
            if not messages:
                return answered
            answers = answer(as_records(messages), self._rules, self._enrich, self._model, _NOW_MS)
            self._producer.begin_transaction()
            for is_prediction, key, value in zip(answers.is_prediction, answers.keys, answers.values, strict=True):
                self._producer.produce("predictions" if is_prediction else "user-actions-dlq", value, key)
            if rng is not None and rng.random() < 0.3:
                self._producer.flush(30)
                self._producer.abort_transaction(30)
                continue
            self._producer.commit_transaction(30)
            answered += len(messages)
            for message in messages:
                self._positions[message.partition() or 0] = (message.offset() or 0) + 1
