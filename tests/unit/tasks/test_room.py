"""No candidate is run, or judged, on a full disk."""

from __future__ import annotations

import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest

from poise_lib.errors import StateError
from poise_lib.sandbox import Limits, SandboxResult
from poise_lib.tasks.room import Roomy

LIMITS = Limits(cpu_seconds=1, wall_seconds=1, memory_bytes=1 << 30, file_bytes=64 << 20)
Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(
    ("before", "after", "ok", "refused"),
    [
        (63 << 20, 63 << 20, True, True),
        (64 << 20, 1 << 20, True, False),
        (64 << 20, 1 << 20, False, True),
        (64 << 20, 32 << 20, False, False),
    ],
)
def test_a_run_on_a_full_disk_says_nothing_of_the_candidate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int, after: int, ok: bool, refused: bool
) -> None:
    free = iter([before, after])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, next(free)))
    result = SandboxResult(ok, "" if ok else "no space", 0 if ok else 1, None, "", 1.0, 1.0, 1, ())

    def run(entry: str, workdir: Path, limits: Limits, on_line: Callable[[str], None] | None = None) -> SandboxResult:
        return result

    if refused:
        with pytest.raises(StateError, match="the disk is nearly full"):
            Roomy(run)("x:y", tmp_path, LIMITS)
    else:
        assert Roomy(run)("x:y", tmp_path, LIMITS) is result
