"""Run an entry of ``entries/`` in a sandbox with small limits."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from poise_lib.sandbox import ForkServer, Limits, fork_at, remove_workdir, run, spawn

LIMITS = Limits(cpu_seconds=30, wall_seconds=60, memory_bytes=256 << 20, file_bytes=8 << 20)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox rests on Linux")


@pytest.fixture
def workdir(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "work"
    folder.mkdir()
    yield folder
    if folder.exists():
        remove_workdir(folder)  # some entries leave what pytest's own clean-up fails on


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """Has imported PyTorch and the entry modules of this package."""
    with ForkServer() as server:
        yield server


@pytest.fixture(params=["spawned", "forked"])
def starter(request):
    """Both ways for a child to come to be: nothing may depend on which."""
    return spawn if request.param == "spawned" else fork_at(request.getfixturevalue("fork_server").address)


@pytest.fixture
def confined(workdir, monkeypatch, starter):
    """confined(name, **limits) -> (result, lines)."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "entries"))

    def call(name, module="sandbox_entries", **limits):
        lines = []
        result = run(f"{module}:{name}", workdir, replace(LIMITS, **limits), lines.append, start=starter)
        return result, lines

    return call
