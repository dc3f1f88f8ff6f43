"""``poise artifacts collect``: on state directories, and on stores of a cluster's namespace."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from poise_lib.artifacts import ArtifactStore
from poise_lib.artifacts.base import blob_key
from poise_lib.artifacts.collect import DAY
from poise_lib.local.state import StateDir
from tests.unit.cli.conftest import Poise

KUBECTL = """#!/bin/sh
if [ -e refuse ]; then echo 'Error from server (Forbidden): searches.poise.dev is forbidden' >&2; exit 1; fi
cat objects.json
"""


def old(store: ArtifactStore, content: bytes) -> str:
    digest = store.put(content)
    path = store.root / blob_key(digest)
    os.utime(path, (path.stat().st_mtime - 40 * DAY,) * 2)
    return digest


def test_a_state_directory_keeps_what_its_manifests_name(poise: Poise, state: Path) -> None:
    store = StateDir(state).artifacts
    manifests = "".join(path.read_text() for path in state.rglob("*.yaml"))
    named = re.findall(r"sha256:[0-9a-f]{64}", manifests)
    assert named
    other, young = old(store, b"of a candidate that is gone"), store.put(b"young")
    shown = poise("artifacts", "collect", str(state), "--dry-run")
    assert shown.code == 0, shown.err
    assert f"blob {other} 27 bytes" in shown.out
    assert "would remove 1 blobs and 0 results, 27 bytes" in shown.out
    assert store.has(other)
    for digest in named:
        path = store.path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        os.utime(path, (0, 0))
    done = poise("artifacts", "collect", str(state))
    assert "removed 1 blobs and 0 results, 27 bytes" in done.out
    assert not store.has(other)
    assert store.has(young)
    assert all(store.has(digest) for digest in named)


def test_a_state_directory_in_use_is_left_alone(poise: Poise, state: Path) -> None:
    with StateDir(state).lock("0" * 32):
        refused = poise("artifacts", "collect", str(state))
    assert refused.code == 3
    assert "in use by" in refused.err


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ArtifactStore:
    """A stand-in for kubectl that prints objects.json, and a store."""
    program = tmp_path / "bin" / "kubectl"
    program.parent.mkdir()
    program.write_text(KUBECTL)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    (tmp_path / "objects.json").write_text('{"items": []}')
    return ArtifactStore(tmp_path / "store")


def test_a_store_keeps_what_the_namespace_names(poise: Poise, cluster: ArtifactStore, tmp_path: Path) -> None:
    needed, other = old(cluster, b"needed"), old(cluster, b"other")
    items = [{"kind": "Evaluation", "status": {"policy": needed}}]
    (tmp_path / "objects.json").write_text(json.dumps({"items": items}))
    done = poise("artifacts", "collect", "store", "--namespace", "team-a")
    assert done.code == 0, done.err
    assert (cluster.has(needed), cluster.has(other)) == (True, False)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["store", "-n", "team-a"], 2, "nothing would be kept; if it is the right one, say --even-if-none"),
        (["store", "-n", "team-a", "--grace", "1h"], 2, "--grace: at least 2h in a cluster"),
        (["store", "-n", "team-a", "--grace", "soon"], 2, "is no length of time"),
        (["stor", "-n", "team-a"], 2, "there is no such folder"),
        (["store", "--even-if-none"], 2, "say which namespace"),
        (["store"], 2, "is no state directory"),
        (["store", "-n", "refused"], 1, "forbidden"),
    ],
)
def test_nothing_is_removed_on_a_doubt(
    poise: Poise, cluster: ArtifactStore, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    other = old(cluster, b"other")
    if "refused" in arguments:
        (tmp_path / "refuse").touch()
    refused = poise("artifacts", "collect", *arguments)
    assert refused.code == code
    assert said in refused.err
    assert cluster.has(other)


def test_a_namespace_without_searches_is_emptied_when_told_so(poise: Poise, cluster: ArtifactStore) -> None:
    other = old(cluster, b"other")
    assert poise("artifacts", "collect", "store", "-n", "team-a", "--even-if-none").code == 0
    assert not cluster.has(other)
