"""A real browser without a window: Debian's chromium, driven by its DevTools protocol over loopback."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from websockets.sync.client import ClientConnection, connect

from infra.config import ROOT

_SECONDS = 90.0
_MISSING = "no chromium: expected the program `chromium` on PATH, got none, and it could not be installed; apt-get install chromium"
_KEYS = {
    "Tab": (9, ""),
    "Enter": (13, "\r"),
    "Escape": (27, ""),
    "ArrowDown": (40, ""),
    "ArrowUp": (38, ""),
    "/": (191, "/"),
}


def chromium() -> str:
    """The program; root installs it where it is missing. Without it a test fails where CI is set, and is skipped elsewhere."""
    if found := shutil.which("chromium"):
        return found
    if os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        with FileLock(ROOT / ".streamhouse" / "chromium.lock"):  # another process of the tests may be at it
            for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "chromium"]):
                if not shutil.which("chromium"):
                    subprocess.run(["apt-get", *words], env=quiet, capture_output=True, check=False, timeout=240)
        if found := shutil.which("chromium"):
            return found
    if os.environ.get("CI"):
        pytest.fail(_MISSING)
    pytest.skip(_MISSING)


class Tab:
    """One page. `errors`: what its console said of errors, refused policies and scripts that failed."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._last = socket, 0
        self.errors: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.send("Emulation.setFocusEmulationEnabled", enabled=True)  # as if its window were in front

    def send(self, method: str, **arguments: Any) -> dict[str, Any]:
        """A command of the protocol, and its answer."""
        self._last += 1
        self._socket.send(json.dumps({"id": self._last, "method": method, "params": arguments}))
        deadline = time.monotonic() + _SECONDS
        while True:
            told = json.loads(self._socket.recv(timeout=max(0.1, deadline - time.monotonic())))
            self._note(told)
            if told.get("id") == self._last:
                assert "error" not in told, f"{method}: {told['error']}"
                answer: dict[str, Any] = told["result"]
                return answer

    def look(self, width: int, height: int, *, dark: bool = False, calm: bool = False) -> None:
        """As on a screen of this size; `dark`, `calm`: what its owner prefers."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        wished = [("prefers-color-scheme", "dark" if dark else "light"), ("prefers-reduced-motion", "reduce" if calm else "no-preference")]
        self.send("Emulation.setEmulatedMedia", features=[{"name": name, "value": value} for name, value in wished])

    def open(self, url: str) -> None:
        """Load an address, and wait until the page has drawn itself."""
        self.send("Page.navigate", url="about:blank")
        self.send("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && document.querySelector('main h1') !== null")

    def leave(self) -> None:
        """Leave the page, so that nothing of it asks a server any more."""
        self.send("Page.navigate", url="about:blank")
        self.wait("location.href === 'about:blank' && document.readyState === 'complete'")

    def go(self, route: str) -> None:
        """To another part of the same page, as `#/topics`."""
        there, drawn = json.dumps(route), "requestAnimationFrame(() => requestAnimationFrame(done))"
        self.run(
            f"new Promise(done => {{ if (location.hash === {there}) {drawn};"
            f" else {{ addEventListener('hashchange', () => {drawn}, {{once: true}}); location.hash = {there} }} }})"
        )

    def run(self, script: str) -> Any:
        """What a script in the page comes to."""
        told = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def wait(self, script: str, seconds: float = _SECONDS) -> None:
        """Until a script comes to true."""
        deadline = time.monotonic() + seconds
        while not self.run(script):
            assert time.monotonic() < deadline, f"never came true: {script}; the page shows {self.run('document.body.innerText')[:500]!r}"
            time.sleep(0.05)

    def press(self, key: str, *, shift: bool = False) -> None:
        """A key of the keyboard, as a person presses it."""
        code, text = _KEYS[key]
        keys = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **keys, **({"text": text} if text else {}))
        self.send("Input.dispatchKeyEvent", type="keyUp", **keys)

    def type(self, text: str) -> None:
        """Into what has the focus."""
        self.send("Input.insertText", text=text)

    def text(self, selector: str = "main") -> str:
        """What a person reads in an element."""
        return str(self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    def picture(self, file: Path, *, whole: bool = False) -> None:
        """A screenshot, PNG, without scrollbars; `whole`: the page down to its end."""
        self.send("Emulation.setScrollbarsHidden", hidden=True)
        told = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(told["data"]))

    def _note(self, told: dict[str, Any]) -> None:
        method, said = told.get("method"), told.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.errors.append(said["exceptionDetails"].get("exception", {}).get("description", str(said)))
        elif method == "Log.entryAdded" and said["entry"]["level"] == "error":
            self.errors.append(f"{said['entry']['text']} {said['entry'].get('url', '')}")
        elif method == "Runtime.consoleAPICalled" and said["type"] == "error":
            self.errors.append(str(said["args"]))
        elif method == "Network.requestWillBeSent":
            self.requests.append(said["request"]["url"])


@contextlib.contextmanager
def browser() -> Iterator[Tab]:
    """A browser with one empty page, without any state of a user's; ended afterwards."""
    program = chromium()
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as name:  # its children end a moment later
        folder = Path(name)
        words = ["--headless=new", "--remote-debugging-port=0", f"--user-data-dir={folder}", "--no-first-run", "--disable-gpu"]
        words += ["--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage", "--disable-extensions"]
        words += ["--no-sandbox"] if os.geteuid() == 0 else []  # which chromium refuses to do without for root
        process = subprocess.Popen([program, *words, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with connect(_address(folder / "DevToolsActivePort", process), max_size=None, compression=None, proxy=None) as socket:
                yield Tab(socket)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def _address(file: Path, process: subprocess.Popen[bytes]) -> str:
    """Of the first page, which the browser tells at the port that it wrote into the file."""
    import httpx

    deadline = time.monotonic() + _SECONDS
    while True:
        assert process.poll() is None, f"chromium ended with {process.returncode} before it could be used"
        assert time.monotonic() < deadline, "chromium did not come up in time"
        with contextlib.suppress(OSError, ValueError, IndexError, httpx.HTTPError):
            port = int(file.read_text("utf-8").split()[0])
            told = httpx.get(f"http://127.0.0.1:{port}/json/list", timeout=5, trust_env=False).json()
            return str(next(one["webSocketDebuggerUrl"] for one in told if one["type"] == "page"))
        time.sleep(0.05)
