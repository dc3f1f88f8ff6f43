"""What a running task may use: the artifact store, a work folder of its own, and a way to report progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from poise_lib.artifacts import Store
from poise_lib.sandbox import SandboxRun, run


class Fault(Exception):
    """The task cannot succeed with this input; becomes a :class:`~poise_lib.tasks.protocol.TaskFault`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class TaskContext:
    """Handed to every handler."""

    store: Store
    workdir: Path
    report: Callable[[dict[str, Any]], None]
    sandbox: SandboxRun = run
    """Runs candidate code."""
    artifacts: list[str] = field(default_factory=list)

    def keep(self, data: bytes) -> str:
        """Store an artifact that the output names."""
        digest = self.store.put(data)
        self.artifacts.append(digest)
        return digest

    def keep_file(self, path: Path) -> str:
        """Store a file that the output names."""
        digest = self.store.put_file(path)
        self.artifacts.append(digest)
        return digest
