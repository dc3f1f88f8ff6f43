"""Files that untrusted code left are read with care, and cleared away with care."""

import os
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poise_lib.errors import SandboxError
from poise_lib.sandbox import read_output, remove_workdir
from poise_lib.sandbox.outputs import MAX_FOLDER_DEPTH, copy_output, disk_problem, printable


def test_reads_an_ordinary_file_also_in_a_folder(workdir):
    (workdir / "a").mkdir()
    (workdir / "a" / "b").write_bytes(b"content")
    assert read_output(workdir, "a/b", 7) == b"content"


def test_refuses_what_is_no_ordinary_file(workdir):
    outside = workdir.parent / "outside"
    outside.write_text("secret")
    (workdir / "link").symlink_to(outside)
    (workdir / "folder-link").symlink_to(workdir.parent)
    (workdir / "folder").mkdir()
    os.link(outside, workdir / "hard")
    os.mkfifo(workdir / "pipe")
    for name in (
        "link",
        "folder-link/outside",
        "folder",
        "hard",
        "pipe",
        "absent",
        "../outside",
        str(outside),
        "",
        ".",
    ):
        with pytest.raises(SandboxError):
            read_output(workdir, name, 1000)
        with pytest.raises(SandboxError):
            copy_output(workdir, name, 1000, workdir.parent / "copy")
        assert not (workdir.parent / "copy").exists()


def test_copies_a_large_file_a_piece_at_a_time(workdir):
    """Of 64 MiB, with a peak far below."""
    with (workdir / "large").open("wb") as file:
        file.truncate(64 << 20)
    tracemalloc.start()
    try:
        assert copy_output(workdir, "large", 64 << 20, workdir.parent / "copy") == 64 << 20
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert (workdir.parent / "copy").stat().st_size == 64 << 20
    with pytest.raises(FileExistsError):
        copy_output(workdir, "large", 64 << 20, workdir.parent / "copy")


def test_refuses_what_is_too_large(workdir):
    (workdir / "big").write_bytes(bytes(101))
    with pytest.raises(SandboxError, match="101 bytes; at most 100"):
        read_output(workdir, "big", 100)
    with pytest.raises(SandboxError, match="101 bytes; at most 100"):
        copy_output(workdir, "big", 100, workdir.parent / "copy")


def test_disk_limits(workdir):
    (workdir / "a").write_bytes(bytes(100_000))
    assert disk_problem(workdir, 1 << 20, 10) == ""
    assert "beyond the limit" in disk_problem(workdir, 50_000, 10)
    for number in range(11):
        (workdir / str(number)).touch()
    assert "more than 10 files" in disk_problem(workdir, 1 << 20, 10)


def test_sparse_files_and_links_do_not_count(workdir):
    (workdir / "link").symlink_to("/")
    with open(workdir / "sparse", "wb") as file:
        file.truncate(1 << 30)
    assert disk_problem(workdir, 1 << 20, 10) == ""


def test_deep_folders_are_a_fault(workdir):
    (workdir / "/".join("d" * (MAX_FOLDER_DEPTH + 2))).mkdir(parents=True)
    assert "deeper" in disk_problem(workdir, 1 << 20, 1000)


def test_removal_survives_deep_nests_and_follows_no_link(workdir):
    outside = workdir.parent / "keep"
    outside.mkdir()
    (outside / "file").touch()
    (workdir / "link").symlink_to(outside)
    here = os.getcwd()
    os.chdir(workdir)
    try:
        for _ in range(1100):
            os.mkdir("nested")
            os.chdir("nested")
        (outside / "other").symlink_to(outside)
        os.symlink(outside, "link")
    finally:
        os.chdir(here)
    remove_workdir(workdir)
    assert not workdir.exists()
    assert (outside / "file").exists()


@given(st.binary())
def test_printable_has_no_control_characters(data):
    assert all(letter.isprintable() or letter in "\n\t" for letter in printable(data))
