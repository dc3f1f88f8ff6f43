"""A child does not outlive its parent, whatever happens to the parent."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PARENT = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from poise_lib.sandbox import ForkServer, Limits, fork_at, run, spawn
limits = Limits(60, 120, 1 << 28, 1 << 20)
def go(start):
    run("sandbox_entries:holds_a_lock", Path(sys.argv[1]), limits, lambda line: print(line, flush=True), start=start)
"""
SPAWNED = PARENT + "go(spawn)"
OWNER = PARENT + "with ForkServer([]) as server: go(fork_at(server.address))"
CLIENT = PARENT + "go(fork_at(Path('{address}')))"


def _started(workdir: Path, script: str) -> subprocess.Popen[str]:
    entries, root = Path(__file__).parent / "entries", Path(__file__).parents[3]
    command = [sys.executable, "-c", script, str(workdir), str(entries), str(root)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "locked\n"
    return parent


def _lock_is_free(workdir: Path) -> bool:
    """Waits until the child's lock is gone, which is when the child is; False after a minute."""

    def give_up(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(60)
    try:
        with open(workdir / "lock") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            return True
    except TimeoutError:
        return False
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(params=[SPAWNED, OWNER, CLIENT], ids=["spawned", "owner", "client"])
def script(request, fork_server) -> str:
    return request.param.format(address=fork_server.address) if request.param is CLIENT else request.param


def test_a_child_dies_with_a_parent_that_is_killed(workdir, script):
    with _started(workdir, script) as parent:
        with open(workdir / "lock") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held = True
            else:
                held = False
        assert held, "the child must hold the lock before, or the test shows nothing"
        os.kill(parent.pid, signal.SIGKILL)
    assert _lock_is_free(workdir)


def test_a_child_dies_with_a_parent_that_is_interrupted(workdir, script):
    with _started(workdir, script) as parent:
        os.kill(parent.pid, signal.SIGINT)
    assert _lock_is_free(workdir)
