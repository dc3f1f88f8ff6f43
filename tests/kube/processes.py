"""Child processes whose records lie in a folder, so that anyone who knows the folder can stop them, and only them.

Each child leads a session, hence a process group, of its own; its log is ``log/NAME.log``.  ``run/NAME.json`` holds its
process id and the time it was born, which together no other process ever has: a record that outlived its process stops
nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

POLL_SECONDS: Final = 0.05
STOP_SECONDS: Final = 10.0
"""How long a process may take to end before it is killed."""
LOG_LINES: Final = 15
"""Lines of a log that an error message shows."""


class StartError(Exception):
    """A part did not start; the message ends with the last lines of its log."""


class Processes:
    """The children whose records lie under one folder."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        for folder in ("run", "log"):
            (state / folder).mkdir(parents=True, exist_ok=True)

    def log(self, name: str) -> Path:
        """The log of a child."""
        return self.state / "log" / f"{name}.log"

    def tail(self, name: str) -> str:
        """The last lines of its log."""
        try:
            lines = self.log(name).read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return "\n".join(lines[-LOG_LINES:])

    def start(self, name: str, command: Sequence[str], *, pass_fds: Sequence[int] = ()) -> None:
        """Start a child in a session of its own."""
        with self.log(name).open("ab") as log:
            child = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self.state,
                pass_fds=tuple(pass_fds),
            )
        self._children[name] = child
        record = {"pid": child.pid, "born": _born(child.pid)}
        self._record(name).write_text(json.dumps(record), encoding="utf-8")

    def alive(self, name: str) -> bool:
        """Whether the child of this name runs."""
        return self._pid(name) is not None

    def names(self) -> list[str]:
        """Children on record, running or not."""
        return sorted(path.stem for path in (self.state / "run").glob("*.json"))

    def wait_for(self, name: str, ready: Callable[[], bool], *, seconds: float) -> None:
        """Wait until ``ready`` says so.

        Raises:
            StartError: the child ended, or time is up.
        """
        limit = time.monotonic() + seconds
        while not ready():
            if not self.alive(name):
                raise StartError(f"{name} ended:\n{self.tail(name)}")
            if time.monotonic() > limit:
                raise StartError(f"{name} was not ready after {seconds:.0f} s:\n{self.tail(name)}")
            time.sleep(POLL_SECONDS)

    def stop(self, *names: str) -> None:
        """Stop children with all that is in their process groups: asked first, killed after a while."""
        groups = {name: pid for name in names if (pid := self._pid(name)) is not None}
        for pid in groups.values():
            _signal(pid, signal.SIGTERM)
        limit = time.monotonic() + STOP_SECONDS
        while any(self.alive(name) for name in groups) and time.monotonic() < limit:
            time.sleep(POLL_SECONDS)
        for name in names:
            if name in groups:
                _signal(groups[name], signal.SIGKILL)
            if name in self._children:
                self._children.pop(name).wait()
            self._record(name).unlink(missing_ok=True)

    def _record(self, name: str) -> Path:
        return self.state / "run" / f"{name}.json"

    def _pid(self, name: str) -> int | None:
        """The process id, if the process on record still runs."""
        if name in self._children:
            self._children[name].poll()  # reaps it, if it has ended
        try:
            record = json.loads(self._record(name).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        pid = int(record["pid"])
        return pid if record["born"] is not None and _born(pid) == record["born"] else None


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _born(pid: int) -> int | None:
    """When a process started, in ticks since the machine did; None if it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)
