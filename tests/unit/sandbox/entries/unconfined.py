"""Entry points for runs without the sandbox."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def writes(workdir: Path) -> None:
    print("one\ntwo\x1b[2J", flush=True)  # noqa: T201 - what is tested
    (workdir / "file").write_text("content")


def raises(workdir: Path) -> None:
    raise ValueError("no luck")


def waits(workdir: Path) -> None:
    signal.pause()


def tells_its_number_and_waits(workdir: Path) -> None:
    print(os.getpid(), flush=True)  # noqa: T201 - what is tested
    signal.pause()
