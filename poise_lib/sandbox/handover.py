"""A sandboxed run in two places: one container runs untrusted code and leaves files, another one judges them.

::

    untrusted container                      a volume               trusted container
    prepare, Delivering.__call__  ────►  result.json, files/  ────►  prepare, Received.__call__, judge

Both run the same trusted function, which prepares a work directory and calls what it takes for the sandbox.  In the
first place the call runs the child, puts what it left on the volume, and ends the function.  In the second place the
call takes from the volume what the child would have left, and the function goes on to judge it.  The first place is as
untrusted as the child, so whatever lies on the volume is treated as a child's output.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from pydantic import TypeAdapter, ValidationError

from poise_lib.errors import SandboxError
from poise_lib.sandbox.cgroup import out_of_memory_kills
from poise_lib.sandbox.model import LAYERS, Limits, SandboxResult
from poise_lib.sandbox.outputs import copy_output, printable, read_output
from poise_lib.sandbox.runner import run

RESULT_FILE: Final = "result.json"
FILES: Final = "files"
MAX_FILES: Final = 64
_MAX_RESULT_BYTES: Final = 64 * 1024
_MAX_TEXT: Final = 8 * 1024
_RESULT: Final = TypeAdapter(SandboxResult)


class SandboxRun(Protocol):
    """What :func:`poise_lib.sandbox.run` is to those who call it."""

    def __call__(
        self, entry: str, workdir: Path, limits: Limits, on_line: Callable[[str], None] | None = None
    ) -> SandboxResult:
        """Run ``entry`` on ``workdir`` within ``limits``."""


class Delivered(Exception):
    """The run is over and lies on the volume; nothing is judged here."""


@dataclass(frozen=True, slots=True)
class Delivering:
    """The untrusted place: run, and leave everything in ``folder``."""

    folder: Path
    run: SandboxRun | None = None
    """What runs it; the sandbox's :func:`~poise_lib.sandbox.run` when missing."""

    def __call__(
        self, entry: str, workdir: Path, limits: Limits, on_line: Callable[[str], None] | None = None
    ) -> SandboxResult:
        """As :func:`poise_lib.sandbox.run`, but it never returns.

        Raises:
            Delivered: the child has ended, well or not, and what it left lies in the folder.
            SandboxError: the child could not be started, left something that is no file, or was killed because the
                container has less memory than the child's limits allow, which is no fault of the child.
        """
        given, killed = set(os.listdir(workdir)), out_of_memory_kills()
        result = (self.run or run)(entry, workdir, limits, on_line)
        if not result.ok and out_of_memory_kills() > killed:
            raise SandboxError(
                "the container ran out of memory: raise spec.evaluation.template.resources.limits.memory of the Search"
            )
        files = self.folder / FILES
        files.mkdir(parents=True, exist_ok=True)
        for name in sorted(set(os.listdir(workdir)) - given)[:MAX_FILES]:
            if stat.S_ISREG((workdir / name).lstat().st_mode):
                (files / name).unlink(missing_ok=True)  # of a try before this one
                copy_output(workdir, name, limits.file_bytes, files / name)
        # Last, so that a result always has its files.
        (self.folder / RESULT_FILE).write_bytes(_RESULT.dump_json(result))
        raise Delivered


@dataclass(frozen=True, slots=True)
class Received:
    """The trusted place: what ``folder`` holds is what the child did."""

    folder: Path

    def __call__(
        self, entry: str, workdir: Path, limits: Limits, on_line: Callable[[str], None] | None = None
    ) -> SandboxResult:
        """As :func:`poise_lib.sandbox.run`; no line is repeated.

        Raises:
            SandboxError: nothing was left, or not what a child leaves.
        """
        try:
            result = _RESULT.validate_json(read_output(self.folder, RESULT_FILE, _MAX_RESULT_BYTES))
        except ValidationError as error:
            raise SandboxError("what the untrusted container left is no account of a run") from error
        room = limits.file_bytes
        for name in self._names():
            if os.path.lexists(workdir / name):
                continue  # what we gave the child; it cannot be given back changed
            room -= copy_output(self.folder / FILES, name, room, workdir / name)
        return replace(
            result,
            reason=_clean(result.reason),
            stderr_tail=_clean(result.stderr_tail),
            in_force=tuple(layer for layer in LAYERS if layer in result.in_force),
        )

    def _names(self) -> list[str]:
        try:
            names = sorted(os.listdir(self.folder / FILES))
        except OSError as error:
            raise SandboxError(f"what the untrusted container left cannot be read: {error.strerror}") from error
        if len(names) > MAX_FILES:
            raise SandboxError(f"the untrusted container left {len(names)} files; at most {MAX_FILES} are read")
        return names


def _clean(text: str) -> str:
    return printable(text.encode("utf-8", "replace"))[:_MAX_TEXT]
