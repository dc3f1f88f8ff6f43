"""The artifact store: whole files, checked on reading, results accepted once."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poise_lib.artifacts import ArtifactStore, canonical_json, digest_of
from poise_lib.artifacts.store import write_atomically
from poise_lib.errors import StateError

KEY = digest_of(b"input")


def test_what_is_put_is_found_under_its_digest(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    digest = store.put(b"weights")
    assert store.get(digest) == b"weights"
    source = tmp_path / "file"
    source.write_bytes(b"weights")
    assert store.put_file(source) == digest
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_damaged_blob_is_refused_by_name(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    digest = store.put(b"weights")
    store.path(digest).write_bytes(b"weighty")
    with pytest.raises(StateError, match="damaged"):
        store.get(digest)
    store.remove(digest)
    store.remove(digest)
    with pytest.raises(StateError, match="missing"):
        store.get(digest)


@pytest.mark.parametrize("name", ["", "sha256:abc", "md5:" + "0" * 64, "sha256:" + "G" * 64, "../../etc/passwd"])
def test_a_name_that_is_no_digest_reaches_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(StateError, match="no artifact digest"):
        ArtifactStore(tmp_path).path(name)


def test_the_first_result_of_an_input_is_the_one_that_is_kept(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    assert store.result(KEY) is None
    assert store.put_result(KEY, {"output": {"x": 1}}) == {"output": {"x": 1}}
    assert store.put_result(KEY, {"output": {"x": 2}}) == {"output": {"x": 1}}
    assert store.result(KEY) == {"output": {"x": 1}}


def test_a_result_that_is_damaged_or_lost_its_blobs_counts_as_none(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    blob = store.put(b"weights")
    store.put_result(KEY, {"output": {}, "artifacts": [blob]})
    store.remove(blob)
    assert store.result(KEY) is None
    assert store.put_result(KEY, {"output": {"again": 1}}) == {"output": {"again": 1}}
    next((tmp_path / "results").iterdir()).write_text('{"digest":"x","result":{"output":{"forged":1}}}')
    assert store.result(KEY) is None


def test_a_full_disk_is_said_plainly_and_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "search.yaml"
    write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StateError, match="the disk is full: free some space and run the same command again"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_canonical_json_does_not_depend_on_the_order_of_keys(document: object) -> None:
    def reverse(value: object) -> object:
        if isinstance(value, dict):
            return {key: reverse(value[key]) for key in reversed(list(value))}
        return [reverse(item) for item in value] if isinstance(value, list) else value

    assert canonical_json(document) == canonical_json(reverse(document))


def test_nan_has_no_canonical_form() -> None:
    with pytest.raises(ValueError, match=r"Out of range|not JSON compliant"):
        canonical_json({"x": float("nan")})
