"""The implement task: code with the composition that it renders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from poise_lib.artifacts import ArtifactStore
from poise_lib.proposal.composition import canonical, component, names
from poise_lib.proposal.known import GRPO
from poise_lib.resources.candidate import CheckResult, Proposal
from poise_lib.tasks import handlers
from poise_lib.tasks.context import Fault, TaskContext
from poise_lib.tasks.documents import ImplementInput, ImplementOutput
from poise_lib.tasks.protocol import TaskKind, TaskRequest

PROPOSAL = Proposal(
    title="T",
    hypothesis="H.",
    mechanisms=("rare-success", "fork-weighting"),
    composition=canonical([*GRPO, component("rare-success"), component("fork-weighting")]),
)


def run(folder: Path, **fields: Any) -> ImplementOutput:
    document = ImplementInput(**{"proposal": PROPOSAL, **fields}).to_document()
    context = TaskContext(ArtifactStore(folder / "store"), folder, lambda progress: None)
    request = TaskRequest(kind=TaskKind.IMPLEMENT, name="c-implement", input=document)
    return ImplementOutput.model_validate(handlers.handle(request, context))


def refusal(evidence: str) -> tuple[CheckResult, ...]:
    return (CheckResult(name="mechanisms-act", status="failed", evidence=evidence),)


def test_each_revision_returns_its_composition_and_the_next_starts_there(tmp_path: Path) -> None:
    first = run(tmp_path)
    assert first.composition == PROPOSAL.composition
    second = run(tmp_path, revision=2, findings=refusal("no effect: rare-success"), previous=first.composition)
    assert names(first.composition) - names(second.composition) == {"rare-success"}
    third = run(tmp_path, revision=3, findings=refusal("no effect: fork-weighting"), previous=second.composition)
    assert names(third.composition) == names(GRPO)


def test_code_that_is_no_rendering_has_no_composition(tmp_path: Path) -> None:
    assert run(tmp_path, source="x = 1") == ImplementOutput(source="x = 1")
    assert run(tmp_path, algorithm="grpo").composition == ()


@pytest.mark.parametrize(
    ("fields", "reason"), [({"algorithm": "no-such"}, "UnknownAlgorithm"), ({"source": "x" * 24_001}, "SourceTooLarge")]
)
def test_faults_have_a_reason(tmp_path: Path, fields: dict[str, str], reason: str) -> None:
    with pytest.raises(Fault) as caught:
        run(tmp_path, **fields)
    assert caught.value.reason == reason


def test_nothing_left_to_repair_is_said(tmp_path: Path) -> None:
    made = run(tmp_path, revision=2, findings=refusal("negative"), proposal=Proposal(title="T", hypothesis="H."))
    assert made.source is None
    assert "revision 1" in made.message
