"""Only a finding is answered with 1: what keeps an audit from its end is one sentence and 2."""

from __future__ import annotations

import errno
import os

import pytest

from infra.config import Settings, load_settings
from jobs.audit import command


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
            "the audit could not go on: [Errno 28] No space left on device; it takes",
        ),
        (FileNotFoundError(2, "No such file", "/a.avro"), "error: the audit could not go on: [Errno 2] No such file: '/a.avro'\n"),
        (KeyError("a mistake"), "KeyError: 'a mistake'"),
    ],
)
def test_what_ends_it_is_no_finding(
    error: Exception, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(settings: Settings, **_: object) -> None:
        raise error

    monkeypatch.setattr(command, "audit", fails)
    assert command.main(load_settings(), as_json=True, settled=True, wait_seconds=None) == command.COULD_NOT
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
