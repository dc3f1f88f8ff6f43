"""The collect task removes what it is told, and nothing that the store still answers for."""

from __future__ import annotations

from pathlib import Path

from poise_lib.artifacts import ArtifactStore
from poise_lib.tasks import handlers
from poise_lib.tasks.context import TaskContext
from poise_lib.tasks.protocol import TaskKind, TaskRequest


def test_blobs_go_and_a_result_that_names_one_is_worked_for_again(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    gone, kept = store.put(b"gone"), store.put(b"kept")
    trained = TaskRequest(kind=TaskKind.TRAIN, name="c-train", input={}).digest
    store.put_result(trained, {"output": {"policy": gone}, "artifacts": [gone]})
    context = TaskContext(store, tmp_path, lambda progress: None)
    document = {"remove": [gone, "sha256:" + "0" * 64]}
    request = TaskRequest(kind=TaskKind.COLLECT, name="s-collect-0", input=document)
    assert handlers.handle(request, context) == {"removed": 1}
    assert not store.has(gone)
    assert store.has(kept)
    assert store.result(trained) is None
