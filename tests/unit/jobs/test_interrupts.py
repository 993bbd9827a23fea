"""A signal ends a command by its `finally` blocks and one line, wherever it strikes."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from infra.config import ROOT

_BEGIN = """
import sys, time
from jobs import cli, interrupts
def app(prog_name):
    try:
        {body}
    finally:
        print("ended in order", flush=True)
cli.app = app
cli.main()
"""
_WAIT = """
        print("ready", flush=True)
        time.sleep(30)
"""
# where a signal strikes the `finally` of a generator that nobody reads on, Python prints the exception and goes on
_FINALIZER = """
        def read():
            try:
                yield 1
            finally:
                print("ready", flush=True)
                time.sleep(2)
        for _ in read():
            break
        del _
        time.sleep(30)
"""
# what a C library makes of an exception that comes while it calls back into Python
_CALLBACK = """
        try:
            print("ready", flush=True)
            time.sleep(30)
        except KeyboardInterrupt:
            raise SystemError("returned NULL without setting an exception")
"""


@pytest.mark.parametrize("body", [_WAIT, _FINALIZER, _CALLBACK], ids=["waiting", "in a finalizer", "in a callback"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_command_in_order_and_is_said_in_a_line(number: signal.Signals, body: str) -> None:
    program = _BEGIN.format(body=body.strip())
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == "ready\n"
        command.send_signal(number)
        out, err = command.communicate(timeout=20)
    assert (out, command.returncode) == ("ended in order\n", 128 + number)
    assert err == "interrupted; what was done stays done, and the same command does the rest\n"


def test_one_that_comes_while_the_last_line_is_said_changes_nothing() -> None:
    program = _BEGIN.format(body="signal.raise_signal(signal.SIGINT)").replace("import sys", "import signal, sys")
    program = program.replace(
        "cli.main()",
        "say = cli.typer.echo\ncli.typer.echo = lambda *a, **k: (signal.raise_signal(signal.SIGINT), say(*a, **k))\ncli.main()",
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=20)
    said = "interrupted; what was done stays done, and the same command does the rest\n"
    assert (done.stdout, done.stderr, done.returncode) == ("ended in order\n", said, 130)


def test_what_a_shell_lets_its_background_ignore_is_ignored() -> None:
    program = _BEGIN.format(body='signal.raise_signal(signal.SIGINT); print("went on")').replace("import sys", "import signal, sys")
    ignoring = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv(sys.executable, sys.argv[1:])"
    command = [sys.executable, "-c", ignoring, sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=20)
    assert (done.stdout, done.stderr, done.returncode) == ("went on\nended in order\n", "", 0)


def test_a_mistake_is_none_of_that() -> None:
    program = _BEGIN.format(body='raise SystemError("a mistake")')
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 1
    assert "SystemError: a mistake" in done.stderr
