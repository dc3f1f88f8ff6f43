"""A run in a process of its own and nothing around it: for what the sandbox cannot hold.

A program that opens sockets, shares memory and starts daemons (Ray) cannot run under the sandbox's layers.  Its entry
point then runs as the user, and the container around it is all that confines it.  What remains is that nothing outlives
the run: the process is told when its starter dies, whatever of, and ends what it has started.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Final

from poise_lib.errors import SandboxError
from poise_lib.sandbox import libc
from poise_lib.sandbox.model import Limits, SandboxResult
from poise_lib.sandbox.outputs import printable

_MAX_LINE: Final = 64 * 1024
_TAIL: Final = 8 * 1024
_GRACE_SECONDS: Final = 60.0
"""From asking a run to end to killing it: by then it has ended what it started."""


def run_unconfined(
    entry: str, workdir: Path, limits: Limits, on_line: Callable[[str], None] | None = None
) -> SandboxResult:
    """As :func:`poise_lib.sandbox.run`, without its layers: of the limits only the wall time holds.

    Args:
        entry: "module:function" of a trusted module, which may then run untrusted code.
        workdir: handed to the function.
        limits: ``wall_seconds`` from the start of the process.
        on_line: receives each line of its standard output; what it raises ends the run and is raised again.

    Raises:
        SandboxError: the work directory is missing, or the process could not be started.
    """
    workdir = workdir.resolve()
    if not workdir.is_dir():
        raise SandboxError(f"the work directory {workdir} is not a folder")
    command = [sys.executable, "-m", __name__, entry, os.fspath(workdir), str(os.getpid())]
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
            )
        except OSError as error:
            raise SandboxError(f"{sys.executable} could not be started: {error.strerror}") from error
        with _ended(process), _time_limit(process, limits.wall_seconds) as late:
            assert process.stdout is not None
            for line in _lines(process.stdout):
                if on_line is not None:
                    on_line(line)
            code = process.wait()
        errors.seek(max(0, errors.seek(0, os.SEEK_END) - _TAIL))
        told = printable(errors.read())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # A task's log is where people look first.
    sys.stderr.write(told)
    return SandboxResult(
        ok=code == 0 and not late.is_set(),
        reason=_reason(code, told, limits.wall_seconds if late.is_set() else None),
        exit_code=code if code >= 0 else None,
        signal=-code if code < 0 else None,
        stderr_tail=told,
        wall_seconds=time.monotonic() - started,
        cpu_seconds=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        peak_memory_bytes=after.ru_maxrss * 1024,
        in_force=(),
    )


def _lines(stream: IO[bytes]) -> Iterator[str]:
    while line := stream.readline(_MAX_LINE):
        yield printable(line.rstrip(b"\n"))


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Leave with the process gone, and all that it has started."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stdout is not None:
            process.stdout.close()


@contextlib.contextmanager
def _time_limit(process: subprocess.Popen[bytes], seconds: float) -> Iterator[threading.Event]:
    """Ask the process to end after so long; the event says that it was asked."""
    late = threading.Event()

    def end() -> None:
        late.set()
        process.terminate()

    timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), end)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


def _reason(code: int, told: str, limit: float | None) -> str:
    if limit is not None:
        return f"The run took longer than the limit of {limit:g} s and was stopped."
    if code == 0:
        return ""
    last = next((line.strip() for line in reversed(told.splitlines()) if line.strip()), "")[:500]
    ending = f"exit code {code}" if code > 0 else f"signal {signal.Signals(-code).name}"
    return f"The run ended with {ending}. {last}".strip()


def main(arguments: Sequence[str]) -> int:
    """The process itself: ``python -m poise_lib.sandbox.unconfined MODULE:FUNCTION WORKDIR PARENT``."""
    entry, workdir, parent = arguments
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        return 1
    module, _, function = entry.partition(":")
    getattr(importlib.import_module(module), function)(Path(workdir))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
