"""The brake: where most of the recent input is rejected, a job is stopped rather than let it empty its topic into the dead letters."""

from __future__ import annotations

from collections import deque

from infra.config import Brake

_BUCKET_MS = 1000


class Recent:
    """Answers of the last so many seconds, by Kafka's time: how many, and how many of them are dead letters."""

    def __init__(self) -> None:
        self._buckets: deque[tuple[int, int, int]] = deque()  # start in ms, answers, dead letters; ascending
        self.answers = self.dead_letters = 0

    def add(self, ms: int, *, is_dead_letter: bool) -> None:
        """One answer. Times that go back a little, as those of several partitions do, count where the newest bucket is."""
        start = ms - ms % _BUCKET_MS
        answers = dead_letters = 0
        if self._buckets and start <= self._buckets[-1][0]:
            start, answers, dead_letters = self._buckets.pop()
        self._buckets.append((start, answers + 1, dead_letters + is_dead_letter))
        self.answers += 1
        self.dead_letters += is_dead_letter

    def forget(self, before_ms: int) -> None:
        """Leave out the seconds that began before this time."""
        while self._buckets and self._buckets[0][0] < before_ms:
            _, answers, dead_letters = self._buckets.popleft()
            self.answers -= answers
            self.dead_letters -= dead_letters


def verdict(recent: Recent, rule: Brake) -> str | None:
    """The sentence with which the brake is pulled; None: it is not."""
    if not rule.percent or recent.answers < rule.answers or 100 * recent.dead_letters < rule.percent * recent.answers:
        return None
    share = 100 * recent.dead_letters / recent.answers
    return (
        f"{recent.dead_letters:,} of the last {recent.answers:,} records ({share:.0f} %) were rejected, and {rule.percent} % stop the job;"
        " see `./streamhouse dlq list`, mend what sends them, then `./streamhouse submit score_events --release-brake`"
    )
