"""Start the supervisor of a child: as a fresh interpreter, which imports everything anew.

:mod:`~poise_lib.sandbox.forkserver` starts it from a process that has imported everything already.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, Protocol

from poise_lib.errors import SandboxError
from poise_lib.sandbox.launcher import Launch

# The environment holds nothing of the parent's.  One thread a worker, so that results do not depend on the machine.
ENVIRONMENT: Final = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
START_SECONDS: Final = 120.0
"""How long namespaces and imports may take; a cold disk and a busy machine are slow, a hang is slower."""
_BOOT: Final = (
    "import json, sys; sys.path[:0] = json.loads(sys.argv[1])['search']; from {module} import main; main(sys.argv[1])"
)


def interpreter(module: str, argument: str) -> list[str]:
    """Command that calls ``main(argument)`` of a module; ``argument`` is JSON whose ``search`` is put on the path."""
    return [sys.executable, "-I", "-S", "-B", "-X", "utf8", "-c", _BOOT.format(module=module), argument]


@dataclass(frozen=True, slots=True)
class Pipes:
    """Write ends of what the child is heard by; the starter's copies are the caller's to close."""

    stdout: int
    stderr: int
    report: int


class Child(Protocol):
    """A supervisor that has been started, and the session that it leads."""

    def terminate(self) -> None:
        """Have the supervisor kill the worker and report."""

    def kill(self) -> None:
        """Kill the supervisor; the worker dies with it."""

    def end(self) -> None:
        """Kill what is left of the session, and wait until the supervisor is gone."""


class Starter(Protocol):
    """One of the two ways to start a child."""

    def __call__(self, launch: Launch, pipes: Pipes) -> Child:
        """Start the supervisor of ``launch``.

        Raises:
            SandboxError: it could not be started.
        """


@dataclass(frozen=True, slots=True)
class Spawned:
    """A fresh interpreter."""

    process: subprocess.Popen[bytes]

    def terminate(self) -> None:
        """As :class:`Child` says."""
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """As :class:`Child` says."""
        self.process.send_signal(signal.SIGKILL)

    def end(self) -> None:
        """As :class:`Child` says."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def spawn(launch: Launch, pipes: Pipes) -> Spawned:
    """Start a fresh interpreter.

    Raises:
        SandboxError: it could not be started.
    """
    launch = replace(launch, report=pipes.report, parent=os.getpid())
    try:
        process = subprocess.Popen(
            interpreter("poise_lib.sandbox.launcher", launch.to_json()),
            stdin=subprocess.DEVNULL,
            stdout=pipes.stdout,
            stderr=pipes.stderr,
            env=ENVIRONMENT,
            cwd=launch.workdir,
            start_new_session=True,
            pass_fds=(pipes.report,),
        )
    except OSError as error:
        raise SandboxError(f"the sandbox child could not be started: {error}") from error
    return Spawned(process)
