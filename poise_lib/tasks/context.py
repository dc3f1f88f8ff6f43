"""What a running task may use: the artifact store, a work folder of its own, and a way to report progress."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poise_lib.artifacts import Store
from poise_lib.resources.llm import Spend
from poise_lib.sandbox import SandboxRun, run, run_unconfined

if TYPE_CHECKING:
    from poise_lib.llm.purse import Purse


class Fault(Exception):
    """The task cannot succeed with this input; becomes a :class:`~poise_lib.tasks.protocol.TaskFault`.

    Args:
        reason: a CamelCase word.
        message: a sentence with the fix.
        keep: whether the same input will end so again for ever; False where something outside of it has to be mended,
            such as a key, after which the same input may succeed.
    """

    def __init__(self, reason: str, message: str, *, keep: bool = True) -> None:
        super().__init__(message)
        self.reason = reason
        self.keep = keep


@dataclass(frozen=True)
class TaskContext:
    """Handed to every handler."""

    store: Store
    workdir: Path
    report: Callable[[dict[str, Any]], None]
    sandbox: SandboxRun = run
    """Runs candidate code."""
    outside: SandboxRun = run_unconfined
    """Runs candidate code that the sandbox cannot hold: VeRL's processes, which the container around them confines."""
    checkpoints: Path | None = None
    """A folder of this task's that outlives an attempt; None: an attempt begins anew."""
    artifacts: list[str] = field(default_factory=list)
    purse: Purse | None = None
    """Pays for a language model; None where none may be asked."""
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    """Of the process, with what no input may hold: the key."""

    @property
    def spend(self) -> Spend | None:
        """What all attempts have spent; None where no model may be asked."""
        return self.purse.spent if self.purse is not None else None

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
