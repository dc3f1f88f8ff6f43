"""Each thing that untrusted code might try, with the very symptom; the static policy is not in the way here."""

import os
import subprocess
import sys

import pytest

from poise_lib.sandbox import model

REFUSED = "The sandbox refused what the code tried: "


@pytest.mark.parametrize(
    ("entry", "limits", "reason"),
    [
        ("loops_for_ever", {"cpu_seconds": 1}, "The code used more than the limit of 1 s of CPU time and was stopped."),
        ("sleeps_for_ever", {"wall_seconds": 0.2}, "The code ran longer than the limit of 0.2 s and was stopped."),
        ("ignores_signals", {"wall_seconds": 0.2}, "The code ran longer than the limit of 0.2 s and was stopped."),
        ("forks", {}, REFUSED + "PermissionError: [Errno 1] Operation not permitted."),
        ("starts_a_program", {}, REFUSED + "PermissionError: [Errno 1] Operation not permitted"),
        ("replaces_itself", {}, REFUSED + "PermissionError: [Errno 1] Operation not permitted"),
        ("starts_threads", {}, "The code raised RuntimeError: can't start new thread."),
        ("allocates_10_gb", {}, "The code needed more than the limit of 256 MiB of memory (MemoryError)."),
        ("allocates_by_mmap", {}, "The code needed more than the limit of 256 MiB of memory (OSError"),
        ("writes_one_huge_file", {}, "The code wrote a file beyond the limit of 8 MiB"),
        ("writes_many_files", {}, "The code filled the work directory beyond the limit of 8 MiB and was stopped."),
        ("makes_many_names", {}, "The code put more than 10000 files into the work directory"),
        ("nests_folders", {}, "The code nested folders deeper than 32 in the work directory"),
        ("opens_a_socket", {}, REFUSED + "PermissionError: [Errno 1] Operation not permitted."),
        ("opens_a_unix_socket", {}, REFUSED + "PermissionError: [Errno 1] Operation not permitted."),
        ("leaves_a_symlink", {}, REFUSED + "PermissionError: [Errno 1] Operation not permitted"),
        ("leaves_a_hard_link", {}, REFUSED + "PermissionError: [Errno 1] Operation not permitted"),
        ("leaves_a_pipe", {}, REFUSED + "PermissionError: [Errno 1] Operation not permitted"),
        ("traces_its_parent", {}, REFUSED + "PermissionError: [Errno 1] Operation not permitted."),
        ("mounts", {}, REFUSED + "PermissionError: [Errno 1] Operation not permitted."),
        ("gets_a_new_user_namespace", {}, REFUSED + "PermissionError: [Errno 1] Operation not permitted."),
        ("becomes_root", {}, REFUSED + "PermissionError: [Errno 1] Operation not permitted."),
        ("raises_its_limits", {}, "The code raised ValueError: not allowed to raise maximum limit."),
    ],
)
def test_attempts_end_with_the_reason(confined, entry, limits, reason):
    result, lines = confined(entry, **limits)
    assert not result.ok
    assert result.reason.startswith(reason), result
    assert lines == []


@pytest.mark.parametrize(
    "entry", ["reads_passwd", "lists_home", "reads_its_neighbour", "writes_outside", "writes_into_the_library"]
)
def test_files_outside_the_work_directory_are_out_of_reach(confined, workdir, entry):
    secret = workdir.parent / "secret.txt"
    secret.write_text("secret")
    secret.chmod(0o644)
    before = sorted(os.listdir(workdir.parent))
    result, lines = confined(entry)
    assert not result.ok
    assert lines == []
    assert any(word in result.reason for word in ("PermissionError", "FileNotFoundError", "Read-only file system"))
    assert sorted(os.listdir(workdir.parent)) == before


@pytest.mark.skipif(os.getuid() == 0, reason="root reads any folder")
def test_a_folder_that_cannot_be_counted_is_a_fault(confined):
    result, _ = confined("hides_a_folder")
    assert "cannot be read" in result.reason


def test_others_cannot_be_killed(confined, workdir):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as victim:
        (workdir / "victim").write_text(str(victim.pid))
        result, lines = confined("kills_its_parents")
        assert victim.poll() is None
        victim.communicate(b"\n")
        assert victim.returncode == 0
    # Signalling process group 0 or pid 0 (a parent outside the pid namespace) would be the worker itself: refused too.
    assert lines in (["refused 3"], ["refused 4"]), result


def test_reports_cannot_be_forged(confined):
    result, _ = confined("writes_to_every_descriptor")
    assert not result.ok
    assert set(result.in_force) <= set(model.LAYERS)
    assert "forged" not in result.in_force
