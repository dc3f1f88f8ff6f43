"""What is particular to a child that is forked; all that both kinds share is in the other files."""

import os
from pathlib import Path

import pytest

from poise_lib.sandbox import ForkServer, Limits, SandboxResult, fork_at, run
from poise_lib.sandbox.children import Spawned
from poise_lib.sandbox.forkserver import Forked

LIMITS = Limits(30, 60, 1 << 28, 1 << 20)


@pytest.fixture(autouse=True)
def entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "entries"))


def through(server: ForkServer, workdir: Path, kinds: list[type]) -> SandboxResult:
    start = fork_at(server.address)

    def noted(launch, pipes):
        child = start(launch, pipes)
        kinds.append(type(child))
        return child

    return run("sandbox_entries:returns", workdir, LIMITS, start=noted)


def test_a_server_forks_one_child_after_the_other(fork_server, workdir):
    kinds: list[type] = []
    for _ in range(3):
        assert through(fork_server, workdir, kinds).ok
    assert kinds == [Forked] * 3


def test_a_server_has_one_thread_and_waits_for_its_children(fork_server, workdir):
    """A fork of a process with threads may find a lock held for ever."""
    assert through(fork_server, workdir, []).ok
    server = f"/proc/{fork_server.pid}/task"
    assert os.listdir(server) == [str(fork_server.pid)]
    assert Path(server, str(fork_server.pid), "children").read_text() == ""


def test_a_child_has_no_descriptor_of_the_server(confined):
    result, lines = confined("open_descriptors")
    assert result.ok, result.reason
    assert lines == ["0 1 2"]


def test_without_a_server_a_child_starts_by_itself(workdir):
    kinds: list[type] = []
    with ForkServer([]) as server:
        assert through(server, workdir, kinds).ok
    assert not server.address.exists()
    assert through(server, workdir, kinds).ok
    assert kinds == [Forked, Spawned]


def test_a_server_that_cannot_import_leaves_children_to_themselves(workdir):
    kinds: list[type] = []
    with ForkServer(["no_such_module"]) as server:
        assert through(server, workdir, kinds).ok
    assert kinds == [Spawned]


def test_a_long_folder_for_temporary_files_is_no_obstacle(workdir, tmp_path, monkeypatch):
    """A socket's address has room for 107 bytes."""
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    kinds: list[type] = []
    with ForkServer([]) as server:
        assert through(server, workdir, kinds).ok
    assert kinds == [Forked]
