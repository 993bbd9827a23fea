"""Which offsets without a committed record hold an aborted one: the topic at read_uncommitted, at its gaps alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from confluent_kafka import Consumer, TopicPartition
from numpy.typing import NDArray

from infra.config import Settings
from jobs.audit.gaps import Runs, concatenated, runs_of
from jobs.audit.topic_log import SILENT_SECONDS, consumer, silence, some
from jobs.table_log import END

_APART = 1_000
"""Offsets between two gaps from which on a seek, a millisecond or two, is quicker than to read them, a microsecond or two each."""
_BATCH = 500
_FILL_SECONDS = 0.002
_SMALL_FETCHES = {
    "fetch.message.max.bytes": 256 << 10,  # most gaps are one offset long; what is fetched behind one is for nothing
    "queued.min.messages": 1_000,
    "queued.max.messages.kbytes": 8 << 10,
    "fetch.queue.backoff.ms": 1,
}


class Uncommitted:
    """One topic partition, read forward. Gaps that lie close are read in one go, so never more is read than the topic holds."""

    def __init__(self, settings: Settings, topic: str, partition: int) -> None:
        self._settings, self._topic, self._partition = settings, topic, partition
        self._consumer: Consumer | None = None  # one that has idled may take a second to its first record
        self._next = 0
        self._ahead: NDArray[np.int64] = np.zeros(0, np.int64)
        """Offsets that were read and lie behind the last gap."""

    def close(self) -> None:
        """Leave the broker."""
        if self._consumer is not None:
            self._consumer.close()

    def records(self, gaps: Runs) -> Runs:
        """The records that lie in gaps, which begin behind those of the call before and end below the topic's end.

        Raises:
            NotAuditable: the broker does not answer, or retention cut the topic meanwhile.

        """
        return concatenated([runs_of(offsets) for first, end in gaps.tolist() for offsets in self._within(first, end)])

    def _within(self, first: int, end: int) -> Iterator[NDArray[np.int64]]:
        reader = self._reader_at(first)
        while True:
            begin, behind = np.searchsorted(self._ahead, [first, end])
            if begin < behind:
                yield self._ahead[begin:behind]
            self._ahead = self._ahead[behind:]
            if self._next >= end:
                return
            self._ahead = self._read(reader)

    def _reader_at(self, offset: int) -> Consumer:
        """The reader, where it is or at an offset further on."""
        place = TopicPartition(self._topic, self._partition, offset)
        if self._consumer is None:
            self._consumer = consumer(self._settings, "read_uncommitted", _SMALL_FETCHES)
            self._consumer.assign([place])
        elif offset - self._next > _APART:
            self._consumer.seek(place)
        else:
            return self._consumer
        self._next, self._ahead = offset, self._ahead[:0]
        return self._consumer

    def _read(self, reader: Consumer) -> NDArray[np.int64]:
        """The next offsets, at least one unless the topic ends here."""
        silent = 0.0
        while silent <= SILENT_SECONDS:
            messages, ended = some(reader, _BATCH, _FILL_SECONDS, self._settings, self._topic, self._partition)
            if messages or ended:
                offsets = np.array([message.offset() for message in messages], np.int64)
                self._next = END if ended else int(offsets[-1]) + 1
                return offsets
            silent += _FILL_SECONDS
        raise silence(self._settings, self._topic, self._partition)
