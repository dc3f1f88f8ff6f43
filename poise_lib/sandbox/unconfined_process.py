"""The process of a run without the sandbox: ``python -m poise_lib.sandbox.unconfined_process MODULE:FUNCTION DIR PARENT``."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from poise_lib.sandbox import libc


def main(arguments: Sequence[str]) -> int:
    """Call the function with the folder, and be told when the process that wants it dies."""
    entry, workdir, parent = arguments
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        return 1  # it has died already
    module, _, function = entry.partition(":")
    getattr(importlib.import_module(module), function)(Path(workdir))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
