"""Start a program that starts others, and leave none of them behind.

Ray's daemons lead sessions of their own and outlive whoever started them, so killing a process group is not enough.
While a :class:`Family` is open this process adopts every orphan below it (a subreaper); closing it kills whatever
descends from this process and was not there before.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Any, Final

from poise_lib.sandbox import libc

_ROUNDS: Final = 200
"""How often the processes are looked through while they die; each time all that are left are killed."""


class Family:
    """Processes that end with this context, whatever ends it: success, an exception, SIGINT or SIGTERM."""

    def __init__(self) -> None:
        self._before: frozenset[int] = frozenset()
        self._handler: Any = None

    def __enter__(self) -> Family:
        self._before = frozenset(descendants(os.getpid()))
        libc.prctl(libc.PR_SET_CHILD_SUBREAPER, 1)
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGTERM, _interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.end()
        finally:
            libc.prctl(libc.PR_SET_CHILD_SUBREAPER, 0)
            if self._handler is not None:
                signal.signal(signal.SIGTERM, self._handler)

    def start(
        self, command: Sequence[str], *, cwd: Path, environment: Mapping[str, str], output: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        """Start a program in a session of its own, so that a Ctrl-C reaches this process alone."""
        return subprocess.Popen(
            list(command),
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def end(self) -> None:
        """Kill what is left, and what it starts meanwhile."""
        for _ in range(_ROUNDS):
            left = [pid for pid in descendants(os.getpid()) if pid not in self._before]
            if not left:
                return
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for pid in left:  # only direct children and adopted orphans can be waited for; the rest become those
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)


def descendants(root: int) -> list[int]:
    """All processes below ``root``."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry))
    found: list[int] = []
    queue = list(children.get(root, ()))
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue.extend(children.get(pid, ()))
    return found


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
