"""The parent's side of the sandbox: start the child, stream its lines, watch clock and disk, kill, explain.

The parent trusts the report pipe (see :mod:`~poise_lib.sandbox.launcher`) and nothing else that comes from the child.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from poise_lib.errors import SandboxError
from poise_lib.sandbox.children import START_SECONDS, Child, Pipes, Starter, spawn
from poise_lib.sandbox.launcher import EXIT_RAISED, Launch
from poise_lib.sandbox.model import MEBIBYTE, Limits, SandboxResult
from poise_lib.sandbox.outputs import disk_problem, printable
from poise_lib.sandbox.visible import visible_for

MAX_LINE_BYTES: Final = 64 * 1024
MAX_STDOUT_BYTES: Final = 16 * MEBIBYTE
MAX_ENTRIES: Final = 10_000
"""Files and folders in the work directory."""
STDERR_TAIL_BYTES: Final = 8 * 1024
_DISK_INTERVAL: Final = 0.25
_CHUNK: Final = 64 * 1024
_REASON_LENGTH: Final = 500
_GRACE_SECONDS: Final = 5.0
"""From asking the supervisor to end to killing it as well."""
_OUT_OF_MEMORY: Final = (
    "MemoryError",
    "not enough memory",
    "can't allocate memory",
    "Cannot allocate memory",
    "bad_alloc",
)
_REFUSED: Final = ("PermissionError", "Operation not permitted", "Permission denied", "Read-only file system")
_FILE_TOO_LARGE: Final = "File too large"


def run(
    entry: str,
    workdir: Path,
    limits: Limits,
    on_line: Callable[[str], None] | None = None,
    *,
    start: Starter = spawn,
) -> SandboxResult:
    """Call ``entry`` with ``workdir`` in a locked-down child, and wait for it.

    Args:
        entry: "module:function" of a trusted module, which may then run untrusted code.  The module is imported (and so
            torch) before the lock, the function runs after it.
        workdir: the one folder that the child can write; as root it is handed over to another user.
        limits: what the function may use.
        on_line: receives each line of the child's standard output as it comes: untrusted text, at most
            :data:`MAX_LINE_BYTES` long, control characters removed.  What it raises ends the child and is raised again.
        start: how the child comes to be; see :func:`~poise_lib.sandbox.forkserver.fork_at`.

    Returns:
        How it ended; a child that fails, is killed or misbehaves is a result, not an exception.

    Raises:
        SandboxError: the entry cannot be found, or the child could not be started at all.
    """
    workdir = workdir.resolve()
    if not workdir.is_dir():
        raise SandboxError(f"the sandbox's work directory {workdir} is not a folder")
    visible = visible_for(entry.partition(":")[0].partition(".")[0])
    launch = Launch(
        entry=entry, workdir=os.fspath(workdir), limits=asdict(limits), search=visible.search, readable=visible.readable
    )
    started = time.monotonic()
    with _pipes() as (heard, pipes):
        try:
            child = start(launch, pipes)
        finally:
            for descriptor in (pipes.stdout, pipes.stderr, pipes.report):
                os.close(descriptor)
        watch = _Watch(child, heard, limits, workdir, on_line, started)
        try:
            watch.until_closed()
        finally:
            child.end()
    return watch.result()


@contextmanager
def _pipes() -> Iterator[tuple[Pipes, Pipes]]:
    """(read ends, write ends); the read ends are closed at the end, the write ends by their user."""
    pairs = [os.pipe() for _ in range(3)]
    reading, writing = (Pipes(*ends) for ends in zip(*pairs, strict=True))
    try:
        yield reading, writing
    finally:
        for descriptor in (reading.stdout, reading.stderr, reading.report):
            os.close(descriptor)


@dataclass(slots=True)
class _Watch:
    """One running child, as its parent sees it."""

    child: Child
    heard: Pipes
    limits: Limits
    workdir: Path
    on_line: Callable[[str], None] | None
    started: float
    deadline: float = field(init=False)
    next_disk_check: float = field(init=False)
    stopped_because: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    """The supervisor's and the worker's reports, merged."""
    _report_buffer: bytes = b""
    _line: bytearray = field(default_factory=bytearray)
    _received: int = 0
    _stderr: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self.deadline = self.started + START_SECONDS
        self.next_disk_check = self.started

    @property
    def running_code(self) -> bool:
        """The worker has locked itself down and the entry function has begun."""
        return "in_force" in self.facts

    def until_closed(self) -> None:
        """Serve the pipes until all are closed: then every process that held them is gone."""
        handlers: dict[int, Callable[[bytes], None]] = {
            self.heard.stdout: self._take_stdout,
            self.heard.stderr: self._take_stderr,
            self.heard.report: self._take_report,
        }
        with selectors.DefaultSelector() as selector:
            for descriptor in handlers:
                selector.register(descriptor, selectors.EVENT_READ)
            while selector.get_map():
                for key, _ in selector.select(self._patience()):
                    data = os.read(key.fd, _CHUNK)
                    if data:
                        handlers[key.fd](data)
                    else:
                        selector.unregister(key.fd)
                self._check_limits()
        self._end_line()

    def _patience(self) -> float:
        return max(0.0, min(self.deadline, self.next_disk_check) - time.monotonic())

    def _check_limits(self) -> None:
        now = time.monotonic()
        if now >= self.deadline:
            limit = f"ran longer than the limit of {self.limits.wall_seconds:g} s"
            self._stop(limit if self.running_code else f"did not start within {START_SECONDS:g} s")
            self.deadline = now + _GRACE_SECONDS
        if now >= self.next_disk_check:
            self.next_disk_check = now + _DISK_INTERVAL
            if crowded := self._crowded():
                self._stop(crowded)

    def _crowded(self) -> str:
        return disk_problem(self.workdir, self.limits.file_bytes, MAX_ENTRIES)

    def _stop(self, because: str) -> None:
        """Have the supervisor kill the worker; the second time, kill the supervisor."""
        if self.stopped_because:
            self.child.kill()
        else:
            self.child.terminate()
        self.stopped_because = self.stopped_because or because

    def _take_report(self, data: bytes) -> None:
        *lines, self._report_buffer = (self._report_buffer + data).split(b"\n")
        for line in lines:
            began = not self.running_code
            self.facts.update(json.loads(line))
            if began and self.running_code:
                self.deadline = time.monotonic() + self.limits.wall_seconds

    def _take_stdout(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > MAX_STDOUT_BYTES:
            self._stop(f"wrote more than {_mebibytes(MAX_STDOUT_BYTES)} to its standard output")
            return
        first, *more = data.split(b"\n")
        self._extend_line(first)
        for part in more:
            self._end_line()
            self._extend_line(part)

    def _extend_line(self, part: bytes) -> None:
        self._line += part[: MAX_LINE_BYTES - len(self._line)]

    def _end_line(self) -> None:
        line, self._line = bytes(self._line), bytearray()
        if line and self.on_line is not None:
            self.on_line(printable(line))

    def _take_stderr(self, data: bytes) -> None:
        self._stderr += data
        del self._stderr[:-STDERR_TAIL_BYTES]

    def result(self) -> SandboxResult:
        """What happened, once everything has ended."""
        status = self.facts.get("status")
        code = None if status is None or not os.WIFEXITED(status) else os.WEXITSTATUS(status)
        number = os.WTERMSIG(status) if status is not None and os.WIFSIGNALED(status) else None
        reason = self._reason(code, number)
        return SandboxResult(
            ok=not reason,
            reason=reason,
            exit_code=code,
            signal=number,
            stderr_tail=printable(bytes(self._stderr)),
            wall_seconds=time.monotonic() - self.started,
            cpu_seconds=float(self.facts.get("cpu", 0.0)),
            peak_memory_bytes=int(self.facts.get("peak", 0)),
            in_force=tuple(self.facts.get("in_force", ())),
        )

    def _reason(self, code: int | None, number: int | None) -> str:
        """Why the run failed, as a sentence; empty when it did not."""
        if self.stopped_because:
            return f"The code {self.stopped_because} and was stopped."
        if code == 0 and self.running_code:
            crowded = self._crowded()
            return f"The code {crowded}." if crowded else ""
        last = next((line for line in reversed(printable(bytes(self._stderr)).splitlines()) if line.strip()), "")
        last = last.strip()[:_REASON_LENGTH]
        if code is None and number is None:
            return f"The sandbox's supervisor was killed before the code had ended. {last}".strip()
        if not self.running_code:
            return f"The sandbox could not be set up: {last or _ending(code, number)}."
        if number in (signal.SIGKILL, signal.SIGXCPU) and self._cpu_spent():
            return f"The code used more than the limit of {self.limits.cpu_seconds:g} s of CPU time and was stopped."
        if number is not None or code != EXIT_RAISED:
            return f"The code ended its process: {_ending(code, number)}. {last}".strip()
        if any(sign in last for sign in _OUT_OF_MEMORY):
            return f"The code needed more than the limit of {_mebibytes(self.limits.memory_bytes)} of memory ({last})."
        if _FILE_TOO_LARGE in last:
            return f"The code wrote a file beyond the limit of {_mebibytes(self.limits.file_bytes)} ({last})."
        if any(sign in last for sign in _REFUSED):
            return f"The sandbox refused what the code tried: {last}."
        return f"The code raised {last}."

    def _cpu_spent(self) -> bool:
        # What the imports took counts too: a kill this far in comes from the CPU limit, or looks no different.
        return float(self.facts.get("cpu", 0.0)) >= self.limits.cpu_seconds


def _ending(code: int | None, number: int | None) -> str:
    if number is None:
        return f"exit code {code}"
    with suppress(ValueError):
        return f"signal {signal.Signals(number).name}"
    return f"signal {number}"


def _mebibytes(count: int) -> str:
    return f"{count / MEBIBYTE:,.0f} MiB"
