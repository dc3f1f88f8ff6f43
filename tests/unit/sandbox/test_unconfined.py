"""A run without the sandbox: lines, endings, limits, and nothing left when its starter dies."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from poise_lib.errors import SandboxError
from poise_lib.sandbox import Limits, run_unconfined

LIMITS = Limits(cpu_seconds=60, wall_seconds=60, memory_bytes=1 << 40, file_bytes=1 << 20)
HERE = "tests.unit.sandbox.entries.unconfined"


def test_lines_come_and_files_stay(tmp_path: Path) -> None:
    lines: list[str] = []
    result = run_unconfined(f"{HERE}:writes", tmp_path, LIMITS, lines.append)
    assert (result.ok, result.reason, result.exit_code, result.in_force) == (True, "", 0, ())
    assert lines == ["one", "two?[2J"]
    assert (tmp_path / "file").read_text() == "content"


def test_an_exception_is_a_result(tmp_path: Path) -> None:
    result = run_unconfined(f"{HERE}:raises", tmp_path, LIMITS)
    assert not result.ok
    assert result.reason == "The run ended with exit code 1. ValueError: no luck"


def test_a_run_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    result = run_unconfined(f"{HERE}:waits", tmp_path, Limits(1, 0.5, 1, 1))
    assert (result.ok, result.signal) == (False, 15)
    assert result.reason == "The run took longer than the limit of 0.5 s and was stopped."


def test_what_the_listener_raises_ends_the_run(tmp_path: Path) -> None:
    def listen(line: str) -> None:
        raise RuntimeError(line)

    with pytest.raises(RuntimeError) as caught:
        run_unconfined(f"{HERE}:tells_its_number_and_waits", tmp_path, LIMITS, listen)
    assert not Path("/proc", str(caught.value)).exists()


def test_it_ends_when_its_starter_is_killed(tmp_path: Path) -> None:
    entry = f"{HERE}:tells_its_number_and_waits"
    starter = (
        "import sys; from pathlib import Path; from poise_lib.sandbox import Limits, run_unconfined;"
        "run_unconfined(sys.argv[1], Path(sys.argv[2]), Limits(9, 600, 9, 9), lambda line: print(line, flush=True))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", starter, entry, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        below = int(process.stdout.readline())
        descriptor = os.pidfd_open(below)
        process.kill()
    try:
        assert select.select([descriptor], [], [], 60.0)[0], "the run outlives its starter"
    finally:
        os.close(descriptor)


def test_there_has_to_be_a_folder(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="is not a folder"):
        run_unconfined(f"{HERE}:writes", tmp_path / "none", LIMITS)
