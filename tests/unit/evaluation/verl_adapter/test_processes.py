"""Nothing is left behind: daemons that led sessions of their own, and their children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from poise_lib.evaluation.verl.adapter.processes import Family, descendants

DAEMON = """
import os, sys, time
if os.fork() == 0:                    # a daemon, whose parent ends at once
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    print(os.getpid(), flush=True)
    time.sleep(600)
if sys.argv[1] == "stay":
    time.sleep(600)
os._exit(0)
"""
PARENT = """
import sys
from pathlib import Path
from poise_lib.evaluation.verl.adapter.processes import Family, descendants
import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has what it starts in the background ignore it
with Family() as family, open(sys.argv[2], "wb") as log:
    child = family.start([sys.executable, "-c", sys.argv[1], "stay"], cwd=Path("/"), environment=os.environ, output=log)
    while len(descendants(os.getpid())) < 3:
        pass
    print("ready", flush=True)
    child.wait()
"""


@pytest.mark.parametrize("parent", ["leave", "stay"])
def test_daemons_end_with_the_context(parent: str, tmp_path: Path) -> None:
    before = set(descendants(os.getpid()))
    with (tmp_path / "log").open("wb") as log:
        with Family() as family:
            process = family.start(
                [sys.executable, "-c", DAEMON, parent], cwd=tmp_path, environment=os.environ, output=log
            )
            if parent == "leave":
                assert process.wait() == 0
            while len(set(descendants(os.getpid())) - before) < (2 if parent == "leave" else 3):
                pass
            below = set(descendants(os.getpid())) - before
        assert set(descendants(os.getpid())) <= before
    for pid in below:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_what_was_there_before_stays(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as own:
        with (tmp_path / "log").open("wb") as log, Family() as family:
            family.start([sys.executable, "-c", DAEMON, "stay"], cwd=tmp_path, environment=os.environ, output=log)
        assert own.poll() is None
        own.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_them_too(number: signal.Signals, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, DAEMON, str(tmp_path / "log")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        below = descendants(parent.pid)
        assert len(below) == 3
        parent.send_signal(number)
        assert parent.wait() != 0
    for pid in below:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
