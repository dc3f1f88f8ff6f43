"""Mark and sweep: nothing that is named, young or just relied on is ever removed, and the rest goes."""

from __future__ import annotations

import itertools
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poise_lib.artifacts import ArtifactStore, Store, digest_of, open_store
from poise_lib.artifacts.base import blob_key, result_key
from poise_lib.artifacts.collect import DAY, collect, digests_in
from poise_lib.errors import ClusterError

NOW = 1_800_000_000.0
GRACE, KEEP = DAY, 30 * DAY
BLOBS = [digest_of(bytes([number])) for number in range(6)]
INPUTS = [digest_of(b"input" + bytes([number])) for number in range(6)]


def aged(store: ArtifactStore, key: str, days: float) -> None:
    os.utime(store.root / key, (NOW - days * DAY,) * 2)


@given(
    blobs=st.dictionaries(st.integers(0, 5), st.floats(0, 90), max_size=6),
    results=st.dictionaries(
        st.integers(0, 5), st.tuples(st.floats(0, 90), st.sets(st.integers(0, 5), max_size=3)), max_size=6
    ),
    marked=st.sets(st.integers(0, 5)),
    dry=st.booleans(),
)
def test_what_is_needed_stays_and_all_else_goes(
    blobs: dict[int, float], results: dict[int, tuple[float, set[int]]], marked: set[int], dry: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = ArtifactStore(Path(folder))
        for number, (days, named) in results.items():
            store.put_result(INPUTS[number], {"output": {}, "artifacts": sorted(BLOBS[index] for index in named)})
            aged(store, result_key(INPUTS[number]), days)
        for number, days in blobs.items():
            store.put(bytes([number]))
            aged(store, blob_key(BLOBS[number]), days)
        before = {item.key for item in store.objects()}
        done = collect(store, lambda: {BLOBS[number] for number in marked}, now=NOW, grace=GRACE, keep_results=KEEP,
                       dry_run=dry)  # fmt: skip
        kept_results = {number for number, (days, named) in results.items() if days < 30 or named & marked}
        needed = marked | {index for number in kept_results for index in results[number][1]}
        stay = {result_key(INPUTS[number]) for number in kept_results}
        stay |= {blob_key(BLOBS[number]) for number, days in blobs.items() if days < 1 or number in needed}
        assert {item.key for item in done.removed} == before - stay
        assert {item.key for item in store.objects()} == (before if dry else stay)
        assert done.kept == len(stay)


def test_what_is_relied_on_while_it_is_collected_stays(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    digests = [store.put(bytes([number])) for number in range(2)]
    for digest in digests:
        aged(store, blob_key(digest), 50)

    def referenced() -> set[str]:
        aged(store, blob_key(digests[0]), 0)  # a task finds it between the listing and the removal
        return set()

    assert [item.digest for item in collect(store, referenced, now=NOW).removed] == [digests[1]]


def test_nothing_goes_when_it_is_not_known_what_is_needed(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    aged(store, blob_key(store.put(b"x")), 50)

    def referenced() -> set[str]:
        raise ClusterError("the API server is away")

    with pytest.raises(ClusterError):
        collect(store, referenced, now=NOW)
    assert len(list(store.objects())) == 1


def test_files_of_others_and_half_written_ones_are_left_alone(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    others = ["README", "blobs/ab/.half", "results/.half.json", "results/notes.txt", "blobs/zz/" + "0" * 62]
    for name in others:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        os.utime(path, (0, 0))
    assert collect(store, set, now=NOW).removed == ()
    assert all((tmp_path / name).exists() for name in others)


def test_an_object_store_is_collected_too(tmp_path: Path) -> None:
    store: Store = open_store(f"memory://{tmp_path.name}/collect")
    needed, other = store.put(b"needed"), store.put(b"other")
    modified = store.modified(blob_key(other))
    assert modified is not None
    assert collect(store, lambda: {needed}, now=modified + DAY - 60).removed == ()
    assert [item.digest for item in collect(store, lambda: {needed}, now=modified + DAY + 60).removed] == [other]
    assert store.get(needed) == b"needed"


def test_a_digest_counts_wherever_it_stands() -> None:
    texts = [f'{{"status": {{"new": [{{"field": "{BLOBS[0]}"}}]}}}}', f"policy: {BLOBS[1]}\nreport: {BLOBS[2]}\n"]
    assert digests_in(itertools.chain(texts, [digest_of(b"x")[:-1]])) == set(BLOBS[:3])
