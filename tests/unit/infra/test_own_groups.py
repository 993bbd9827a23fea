"""The consumer groups of the commands themselves, which no look at a broker shows: those, and no other."""

from __future__ import annotations

import re

from infra.config import ROOT
from infra.stack.groups import OWN

_NAMED = re.compile(r'"(streamhouse-[a-z-]+)"')


def test_the_groups_that_are_not_shown_are_those_in_which_the_code_reads() -> None:
    named = set[str]()
    for folder in ("features", "infra", "jobs", "lakehouse", "models"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            lines = file.read_text("utf-8").splitlines()
            named |= {name for line in lines if "group" in line for name in _NAMED.findall(line)}
    assert {"streamhouse-consume", "streamhouse-read-to-end", "streamhouse-status"} <= named
    assert named == OWN
