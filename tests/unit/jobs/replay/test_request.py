"""What the client's program is asked and answers comes through its arguments and lines as it was."""

from __future__ import annotations

import json

from jobs.replay.chosen import Chosen, chosen
from jobs.replay.joined import Group
from jobs.replay.request import GROUP, Request, as_argument, begun, group_of, job_of, read_request


def test_a_request_comes_back_as_it_was() -> None:
    what = chosen("2024-03-01", "2024-03-02", ["0:10-19", "3:5-5"])
    for request in (Request("replay-1", 7, 2**62, what, 20_000, 2), Request("replay-2", 1, None, Chosen(), 1, 1)):
        argument = as_argument(request)
        assert read_request(argument) == request
        assert " " not in argument


def test_lines_with_a_marker_are_told_from_others() -> None:
    group = Group(3, "score+decision", "purchase_30m@1", '[{"kind": "score"}]', 12, 5, 90)
    line = GROUP + json.dumps([3, "score+decision", "purchase_30m@1", '[{"kind": "score"}]', 12, 5, 90])
    assert group_of(line) == group
    assert job_of(begun("ab" * 16)) == "ab" * 16
    assert job_of(line) is None
    assert group_of(begun("ab" * 16)) is None
    assert group_of("WARNING: something") is None
