"""A task's request, whole or in parts: what the entry point makes of the files that it is given."""

from __future__ import annotations

import gzip
import itertools
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poise_lib.artifacts import ArtifactStore
from poise_lib.errors import StateError
from poise_lib.tasks.__main__ import KNOWN_FILE, read_request
from poise_lib.tasks.protocol import TaskKind, TaskRequest

REQUEST = TaskRequest(kind=TaskKind.SELECT, name="s-select-1", input={"entries": [f"Größe {i}" for i in range(40)]})
PLAIN = REQUEST.model_dump_json(by_alias=True).encode()
PACKED = gzip.compress(PLAIN, mtime=0)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(bounds)]


def files(folder: Path, parts: list[bytes]) -> list[Path]:
    paths = [folder / f"request.json.gz.{index:02}" for index in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        path.write_bytes(part)
    return paths


@given(data=st.sampled_from([PLAIN, PACKED]), places=st.lists(st.integers(0, len(PACKED)), max_size=15))
def test_parts_are_joined_in_the_order_of_the_arguments(
    data: bytes, places: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert read_request(files(tmp_path_factory.mktemp("input"), cut(data, places))) == REQUEST


@pytest.mark.parametrize("what", ["order", "cut", "missing", "doubled", "mixed"])
def test_parts_that_are_not_all_of_one_request_are_refused(tmp_path: Path, what: str) -> None:
    parts = cut(PACKED, [len(PACKED) // 3, 2 * len(PACKED) // 3])
    other = gzip.compress(PLAIN.replace(b"Gr", b"Kr"), mtime=0)
    damaged = {
        "order": [parts[0], parts[2], parts[1]],
        "cut": [*parts[:2], parts[2][:-1]],
        "missing": parts[:2],
        "doubled": [parts[0], parts[1], parts[1], parts[2]],
        "mixed": [*parts[:2], other[len(parts[0] + parts[1]) :]],
    }[what]
    with pytest.raises(StateError, match="the input is damaged"):
        read_request(files(tmp_path, damaged))


@pytest.mark.parametrize("pieces", [0, 1, 3])
def test_the_entry_point_takes_one_file_or_several_or_standard_input(tmp_path: Path, pieces: int) -> None:
    """By what ``--look-up`` finds in a store that holds the result of this very request."""
    ArtifactStore(tmp_path / "store").put_result(REQUEST.digest, {"output": {}})
    paths = files(tmp_path, cut(PACKED, [100 * place for place in range(1, pieces)])) if pieces else []
    command = [sys.executable, "-m", "poise_lib.tasks", *(["--request", *paths] if paths else []),
               "--store", tmp_path / "store", "--look-up", tmp_path / "handover"]  # fmt: skip
    done = subprocess.run(command, input=b"" if paths else PACKED, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (tmp_path / "handover" / KNOWN_FILE).exists()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (PACKED[:-5], "the input is damaged: "),
        (PLAIN.replace(b'"select"', b'"invent"'), "the input is of another version: kind: Input should be "),
    ],
)
def test_a_request_that_cannot_be_read_is_a_lost_attempt_with_a_reason(
    tmp_path: Path, data: bytes, reason: str
) -> None:
    paths = files(tmp_path, [data])
    command = [sys.executable, "-m", "poise_lib.tasks", "--request", *paths, "--store", tmp_path, "--attempt", "a" * 32]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"StateError: {reason}")
    assert done.stderr.count("\n") == 1
