"""Tasks of an engine that they do not run: refused, never done by the other one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from poise_lib.artifacts import ArtifactStore
from poise_lib.tasks import handlers
from poise_lib.tasks.context import Fault, TaskContext
from poise_lib.tasks.protocol import TaskKind, TaskRequest

TRAIN: dict[str, Any] = {"source": "x = 1", "engine": "verl", "suite": "math-v1", "nano": {}, "seed": 0}
SCORE: dict[str, Any] = {"policy": "sha256:0", "engine": "verl", "suite": "math-v1", "split": "search", "seed": 0}


@pytest.mark.parametrize(("kind", "document"), [(TaskKind.TRAIN, TRAIN), (TaskKind.SCORE, SCORE)])
def test_an_evaluation_of_engine_verl_is_not_run_on_nano(
    tmp_path: Path, kind: TaskKind, document: dict[str, Any]
) -> None:
    context = TaskContext(ArtifactStore(tmp_path / "store"), tmp_path, lambda progress: None)
    with pytest.raises(Fault, match="engine verl: this task trains and scores with the embedded engine only"):
        handlers.handle(TaskRequest(kind=kind, name="e", input=document), context)
