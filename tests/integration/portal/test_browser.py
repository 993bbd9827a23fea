"""Where there is no chromium and none can be installed, the tests of the page say so: they fail in CI, and are skipped elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser import chromium


def test_without_chromium_it_fails_in_ci_and_is_skipped_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # neither chromium nor apt-get
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no chromium: expected the program `chromium` on PATH"):
        chromium()
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="no chromium: expected the program `chromium` on PATH"):
        chromium()
