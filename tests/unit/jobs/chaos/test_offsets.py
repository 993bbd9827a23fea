"""Which falls of a committed offset are a running job's, and which a late sleeper's."""

from __future__ import annotations

from jobs.chaos.offsets import Falls, Place

HERE: Place = ("score_events", "user-actions", 0)
THERE: Place = ("score_events", "user-actions", 1)


def seen(*looks: tuple[float, int, str], place: Place = HERE, checkpoints: bool = True) -> Falls:
    """The looks one after the other; a checkpoint completes between each two of them, or none ever."""
    falls = Falls()
    for number, (now, offset, job) in enumerate(looks):
        falls.see(place, offset, job, number if checkpoints else 0, now)
    return falls


def test_offsets_that_rise_or_stay_are_fine() -> None:
    falls = seen((0, 5, "a"), (1, 5, "a"), (2, 9, "a"))
    assert (falls.backwards(100), falls.stale) == ([], 0)


def test_a_fall_that_stays_is_told() -> None:
    falls = seen((0, 9, "a"), (1, 5, "a"), (2, 6, "a"), (3, 7, "a"))
    assert falls.backwards(5) == []
    (sentence,) = falls.backwards(12)
    assert sentence.startswith("group score_events, topic user-actions, partition 0: committed offset fell from 9 to 5 while job a ran")


def test_a_fall_is_told_once_two_more_checkpoints_did_not_make_up_for_it() -> None:
    assert seen((0, 9, "a"), (1, 5, "a"), (2, 6, "a")).backwards(100) == []
    assert len(seen((0, 9, "a"), (1, 5, "a"), (2, 6, "a"), (3, 6, "a")).backwards(100)) == 1


def test_checkpoints_that_failed_make_up_for_nothing() -> None:
    falls = Falls()
    for now, offset, checkpoint in ((0, 9, 5), (1, 5, 5), (14, 5, 8), (15, 10, 8)):  # 6 and 7 failed; what 8 commits comes a moment later
        falls.see(HERE, offset, "a", checkpoint, now)
    assert (falls.backwards(100), falls.stale) == ([], 1)


def test_a_fall_is_not_told_of_a_job_that_completed_no_checkpoint_since() -> None:
    falls = seen((0, 9, "a"), (1, 5, "a"), (20, 5, "a"), (40, 5, "a"), (41, 10, "a"), checkpoints=False)
    assert (falls.backwards(100), falls.stale) == ([], 1)


def test_a_fall_that_is_made_up_for_at_once_is_counted_alone() -> None:
    falls = seen((0, 9, "a"), (1, 5, "a"), (2, 10, "a"))
    assert (falls.backwards(100), falls.stale) == ([], 1)


def test_a_fall_that_is_made_up_for_late_is_told_all_the_same() -> None:
    falls = seen((0, 9, "a"), (1, 5, "a"), (10, 5, "a"), (20, 5, "a"), (30, 10, "a"))
    assert len(falls.backwards(31)) == 1
    assert falls.stale == 0


def test_another_run_may_begin_earlier() -> None:
    falls = seen((0, 9, "a"), (1, 5, "b"), (2, 6, "b"))
    assert (falls.backwards(100), falls.stale) == ([], 0)


def test_a_fall_that_ended_with_its_run_is_that_runs_no_more() -> None:
    falls = seen((0, 9, "a"), (1, 5, "a"), (2, 5, "b"))
    assert (falls.backwards(100), falls.stale) == ([], 0)


def test_partitions_are_judged_by_themselves() -> None:
    falls = Falls()
    for now, place, offset in ((0, HERE, 9), (0, THERE, 3), (1, HERE, 9), (1, THERE, 4), (2, HERE, 9), (2, THERE, 4)):
        falls.see(place, offset, "a", now, now)
    assert falls.backwards(100) == []
