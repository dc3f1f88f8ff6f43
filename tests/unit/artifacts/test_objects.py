"""The artifact store in an object store: the same promises, over a stand-in for S3 (see tests/s3.py) and fsspec's memory."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fsspec
import pytest

from poise_lib.artifacts import ArtifactStore, Store, base, digest_of, objects, open_store
from poise_lib.artifacts.base import blob_key, result_key
from poise_lib.errors import InvalidInputError, StateError
from tests.s3 import S3, serve

KEY = digest_of(b"input")
PLACES = ["folder", "file URL", "memory URL", "s3 URL"]


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    with serve() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture(params=PLACES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    where = {
        "folder": lambda: str(tmp_path / "store"),
        "file URL": lambda: (tmp_path / "a store").as_uri(),
        "memory URL": lambda: f"memory://{tmp_path.name}/{time.monotonic_ns()}",
        "s3 URL": lambda: request.getfixturevalue("s3").url,
    }[request.param]()
    return open_store(where)


def test_what_is_put_is_found_under_its_digest(store: Store, tmp_path: Path) -> None:
    digest = store.put(b"weights")
    assert digest == digest_of(b"weights")
    assert store.put(b"weights") == digest
    assert store.has(digest)
    assert store.get(digest) == b"weights"
    source = tmp_path / "file"
    source.write_bytes(b"more weights" * 100_000)
    other = store.put_file(source)
    assert store.put_file(source) == other
    assert store.get(other) == source.read_bytes()
    store.put_result(KEY, {"output": {}})
    listed = {item.key: item for item in store.objects()}
    assert set(listed) == {blob_key(digest), blob_key(other), result_key(KEY)}
    assert listed[blob_key(other)].size == source.stat().st_size
    assert [item.digest for item in listed.values() if item.is_result] == [KEY]
    assert all(abs(item.modified - time.time()) < 600 for item in listed.values())


def test_what_is_removed_or_damaged_is_refused_by_name(store: Store) -> None:
    digest = store.put(b"weights")
    store.write(blob_key(digest), b"weighty")
    with pytest.raises(StateError, match="damaged"):
        store.get(digest)
    store.remove(digest)
    store.remove(digest)
    assert not store.has(digest)
    with pytest.raises(StateError, match="missing"):
        store.get(digest)


def test_a_file_is_fetched_whole_or_not_at_all(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "fetched"
    content = bytes(range(256)) * 20_000
    digest = store.put(content)
    store.get_file(digest, target)
    assert target.read_bytes() == content
    store.write(blob_key(digest), content[:-1])
    with pytest.raises(StateError, match="damaged"):
        store.get_file(digest, target)
    assert not target.exists()
    store.remove(digest)
    with pytest.raises(StateError, match="missing"):
        store.get_file(digest, target)
    assert not target.exists()


def test_the_first_result_of_an_input_is_the_one_that_is_kept(store: Store) -> None:
    assert store.result(KEY) is None
    assert store.put_result(KEY, {"output": {"x": 1}}) == {"output": {"x": 1}}
    assert store.put_result(KEY, {"output": {"x": 2}}) == {"output": {"x": 1}}
    assert store.result(KEY) == {"output": {"x": 1}}


def test_a_result_that_is_damaged_or_lost_its_blobs_counts_as_none(store: Store) -> None:
    blob = store.put(b"weights")
    store.put_result(KEY, {"output": {}, "artifacts": [blob]})
    store.remove(blob)
    assert store.result(KEY) is None
    assert store.put_result(KEY, {"output": {"again": 1}}) == {"output": {"again": 1}}
    store.write(result_key(KEY), b'{"digest":"x","result":{"output":{"forged":1}}}')
    assert store.result(KEY) is None


def test_of_many_writers_of_one_result_one_wins_and_all_see_the_same(store: Store) -> None:
    if "memory" in store.place:
        pytest.skip("fsspec's memory looks and writes in two steps, and is no place for several processes")
    barrier, seen = threading.Barrier(8), []

    def write(number: int) -> None:
        barrier.wait()
        seen.append(store.put_result(KEY, {"output": {"writer": number}}))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert {str(result) for result in seen} == {str(store.result(KEY))}


def test_a_server_without_conditions_still_keeps_the_first_of_two(s3: S3) -> None:
    if s3.contents is None:
        pytest.skip("the server is not ours")
    s3.contents.conditional = False
    store = open_store(s3.url)
    store.put_result(KEY, {"output": {"x": 1}})
    assert store.put_result(KEY, {"output": {"x": 2}}) == {"output": {"x": 1}}


def test_relying_on_an_object_renews_its_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a collection of old objects would otherwise take from under a task."""
    blob = store.put(b"weights")
    store.put_result(KEY, {"output": {}, "artifacts": [blob]})
    touched: list[str] = []
    monkeypatch.setattr(store, "touch", touched.append)
    store.put(b"weights")
    assert touched == [], "it is young"
    monkeypatch.setattr(base, "FRESH", -1.0)
    store.put(b"weights")
    assert touched == [blob_key(blob)]
    store.result(KEY)
    assert touched[1:] == [result_key(KEY), blob_key(blob)]


def test_a_time_that_is_renewed_is_a_new_one_and_the_content_the_same(s3: S3) -> None:
    if s3.contents is None:
        pytest.skip("the server is not ours")
    store = open_store(s3.url)
    key = blob_key(store.put(b"weights"))
    held = s3.contents.buckets[s3.bucket]
    held[f"prefix/{key}"] = (b"weights", datetime(2020, 1, 1, tzinfo=UTC))
    store.touch(key)
    modified = store.modified(key)
    assert modified is not None
    assert time.time() - modified < 600
    assert store.read(key) == b"weights"


def test_prefixes_keep_stores_apart(s3: S3) -> None:
    one, other = open_store(f"{s3.url}/team"), open_store(f"{s3.url}/team-b/")
    digest = one.put(b"weights")
    assert not other.has(digest)
    other.put_result(KEY, {"output": {}})
    assert one.result(KEY) is None
    assert [item.digest for item in one.objects()] == [digest]
    assert [item.digest for item in other.objects()] == [KEY]


# --- what goes wrong ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "use", [lambda store: store.result(KEY), lambda store: store.put(b"x"), lambda store: store.put_result(KEY, {})]
)
def test_a_bucket_that_is_not_there_is_no_empty_store(s3: S3, use: object) -> None:
    with pytest.raises(StateError, match="s3://nobody-made-this/x: there is no such bucket: make it, or correct"):
        use(open_store("s3://nobody-made-this/x"))  # type: ignore[operator]


def test_access_denied_says_which_rights_are_needed(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    if s3.contents is None:
        pytest.skip("the server is not ours")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody-else")
    store = open_store(s3.url)
    for use in (lambda: store.result(KEY), lambda: store.put(b"x"), lambda: list(store.objects())):
        with pytest.raises(StateError, match=r"access denied: check the credentials, .* list, get, put and delete"):
            use()


@pytest.mark.parametrize("silent", [False, True])
def test_an_endpoint_that_does_not_answer_is_told_in_bounded_time(
    s3: S3, monkeypatch: pytest.MonkeyPatch, silent: bool
) -> None:
    monkeypatch.setattr(objects, "_RETRIES", 2)
    monkeypatch.setattr(objects, "_TIMEOUT", timedelta(seconds=1))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if silent:
            listener.listen(64)  # it takes connections, and says nothing on them
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")
        store = open_store(s3.url)
        started = time.monotonic()
        with pytest.raises(StateError, match="the endpoint does not answer: check AWS_ENDPOINT_URL"):
            store.result(KEY)
        assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("s3://key:secret@bucket/x", "credentials and the endpoint go into environment variables"),
        ("s3://bucket/x?endpoint=y", "credentials and the endpoint go into environment variables"),
        ("s3:///x", "no bucket; expected s3://BUCKET/PREFIX"),
        ("file://srv/artifacts", "three slashes"),
    ],
)
def test_a_url_that_is_none_of_a_store_is_refused(where: str, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said) as refused:
        open_store(where)
    assert "secret" not in str(refused.value)


def test_a_scheme_that_nobody_knows_is_told() -> None:
    assert "nonsense" not in fsspec.available_protocols()
    with pytest.raises(StateError, match="nonsense://x/y: cannot be opened"):
        open_store("nonsense://x/y")


def test_a_path_is_a_folder(tmp_path: Path) -> None:
    for where in (str(tmp_path), tmp_path.as_uri()):
        store = open_store(where)
        assert isinstance(store, ArtifactStore)
        assert store.root == tmp_path


def test_what_has_to_be_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "poise_lib.artifacts.objects", raising=False)
    for name in ("obstore", "obstore.exceptions", "obstore.fsspec", "obstore.store"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(StateError, match=r"is not installed: pip install 'poise-operator\[s3\]'"):
        open_store("s3://bucket/x")
