"""Candidate code runs only where there is room for all that it may write: a full disk is no candidate's fault.

Without that, a disk that fills up makes one candidate after the other look as if it were broken, for good.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from poise_lib.errors import StateError
from poise_lib.sandbox import Limits, SandboxResult, SandboxRun

_LITTLE = 4 << 20
"""Bytes left below which a run that failed may have failed for want of room."""


@dataclass(frozen=True, slots=True)
class Roomy:
    """A sandboxed run that is not begun on a full disk, and not believed when it failed on one."""

    run: SandboxRun

    def __call__(
        self, entry: str, workdir: Path, limits: Limits, on_line: Callable[[str], None] | None = None
    ) -> SandboxResult:
        """As :func:`poise_lib.sandbox.run`.

        Raises:
            StateError: there is less room than the run may use, or it failed when there was none left.
        """
        _check(workdir, limits.file_bytes)
        result = self.run(entry, workdir, limits, on_line)
        if not result.ok:
            _check(workdir, _LITTLE)
        return result


def _check(workdir: Path, needed: int) -> None:
    free = shutil.disk_usage(workdir).free
    if free < needed:
        raise StateError(
            f"{workdir}: the disk is nearly full ({free >> 20} MiB left, a candidate may write {needed >> 20} MiB): "
            "free some space and run the same command again; everything before this is kept"
        )
