"""``poise train --engine verl --print`` and ``poise score``: what is shown, and what is said where something is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from poise_lib.cli.describing import describe_search
from poise_lib.resources.loading import load_documents
from tests.unit.cli.conftest import Poise

EXAMPLES = Path(__file__).parents[3] / "examples"
PAPER = str(EXAMPLES / "search-math-1.5b.yaml")


@pytest.fixture(autouse=True)
def no_verl(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same wherever the tests run; with VeRL installed see tests/contract/test_verl_scoring.py."""
    for module in ("composing", "preflight", "versions"):
        monkeypatch.setattr(f"poise_lib.evaluation.verl.{module}.installed_version", lambda: None)


def test_the_run_is_shown_and_nothing_runs(poise: Poise, tmp_path: Path) -> None:
    found = poise("train", "vm-av", "--engine", "verl", "--settings", PAPER, "--print", "--seed", "5")
    assert found.code == 0, found.err
    assert (
        "# before it: 5,000 problems of levels 3, 4, 5 of /data/math/train.jsonl are written to train.parquet"
        in found.out
    )
    assert "# VeRL is not installed here: the keys below were not checked" in found.out
    assert "# on this machine it would not start: VeRL is not installed" in found.out
    assert "python -u -m poise_lib.evaluation.verl.adapter.driver \\" in found.out
    assert "  data.seed=5 \\" in found.out
    assert f"POISE_VERL_CANDIDATE={tmp_path}/poise-verl/vm-av/candidate.json" in found.out
    assert list(tmp_path.iterdir()) == []


def test_the_same_for_programs(poise: Poise) -> None:
    # vm-av NEEDS the reference and entropy, grpo the reference
    found = poise(
        "train", "vm-av", "--engine", "verl", "--settings", PAPER, "--print", "--fidelity", "probe", "-o", "json"
    )
    document = json.loads(found.out)
    assert document["overrides"]["trainer.total_training_steps"] == {"value": 4, "source": "evaluation.verl.probeSteps"}
    assert document["overrides"]["actor_rollout_ref.actor.calculate_entropy"]["value"] is True
    assert document["config"] is None
    assert document["command"][:4] == ["python", "-u", "-m", "poise_lib.evaluation.verl.adapter.driver"]
    assert "data.train_batch_size=256" in document["command"]
    found = poise("train", "grpo", "--engine", "verl", "--settings", PAPER, "--print", "--steps", "7", "-o", "json")
    document = json.loads(found.out)
    assert document["overrides"]["trainer.total_training_steps"]["value"] == 7
    assert document["overrides"]["actor_rollout_ref.actor.calculate_entropy"]["value"] is False


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--engine", "verl", "--print"), "--engine verl needs --settings FILE"),
        (("--engine", "verl"), "--engine verl goes with --settings FILE"),
        (("--print",), "--engine verl goes with --settings FILE"),
        (
            ("--engine", "verl", "--print", "--settings", str(EXAMPLES / "search.yaml")),
            "spec.evaluation.engine is nano",
        ),
        (("--engine", "verl", "--print", "--settings", str(EXAMPLES / "candidate.yaml")), "exactly one Search"),
    ],
)
def test_what_is_wrong_is_said(poise: Poise, arguments: tuple[str, ...], words: str) -> None:
    found = poise("train", "grpo", *arguments)
    assert (found.code, found.out) == (2, "")
    assert words in found.err


def test_an_override_that_takes_the_objective_away_is_refused(poise: Poise, tmp_path: Path) -> None:
    text = Path(PAPER).read_text(encoding="utf-8")
    lines = "      overrides: {actor_rollout_ref.actor.policy_loss.loss_mode: gspo}\n      batchSize: 256"
    (tmp_path / "s.yaml").write_text(text.replace("      batchSize: 256", lines), encoding="utf-8")
    found = poise("train", "grpo", "--engine", "verl", "--settings", "s.yaml", "--print")
    assert found.code == 2
    assert "evaluation.verl.overrides['actor_rollout_ref.actor.policy_loss.loss_mode']" in found.err
    assert "would take the objective from the candidate" in found.err


def test_a_candidate_whose_declarations_cannot_be_read(poise: Poise) -> None:
    Path("bad.py").write_text("NEEDS = 5\n", encoding="utf-8")
    found = poise("train", "bad.py", "--engine", "verl", "--settings", PAPER, "--print")
    assert found.code == 2
    assert found.err.startswith("Error: bad: ")


OWN = """
apiVersion: poise.dev/v1alpha1
kind: Search
metadata: {name: own}
spec:
  budget: {candidates: 2}
  evaluation:
    engine: verl
    suite: ours
    suiteDefinition:
      name: ours
      benchmarks:
        - {name: house_acc1, weight: 0.75, source: {files: [house.jsonl]}, contamination: Never published.}
        - {name: garden_acc1, weight: 0.25, source: {files: [garden.jsonl]}}
    verl:
      model: {path: base}
      data: {train: [train.jsonl]}
"""


def test_a_suite_of_ones_own_is_told_and_scored(poise: Poise) -> None:
    Path("own.yaml").write_text(OWN, encoding="utf-8")
    found = poise("validate", "own.yaml")
    assert found.out == "own.yaml: Search own is valid\n"
    assert found.err.splitlines() == [
        "own.yaml: Suite ours; overall is 0.75 house_acc1 + 0.25 garden_acc1",
        "own.yaml: Contamination: house_acc1: Never published.",
        "own.yaml: Contamination: no note for garden_acc1",
    ]
    for folder in ("checkpoint", "base", "problems"):
        Path(folder).mkdir()
    for folder in ("checkpoint", "base"):
        save_file({"a": torch.zeros(2)}, f"{folder}/model.safetensors")
        Path(folder, "config.json").write_text("{}", encoding="utf-8")
    found = poise("score", "checkpoint", "--settings", "own.yaml", "--problems", "problems")
    assert found.code == 2
    assert "benchmark house_acc1: none of house.jsonl is in problems; name the folder that holds it" in found.err
    text = " ".join(" ".join(describe_search(load_documents(Path("own.yaml"))[0])).split())  # type: ignore[arg-type]
    assert "Suite: ours; overall is 0.75 house_acc1 + 0.25 garden_acc1" in text
    assert "house_acc1: Never published. no note for garden_acc1" in text


def test_a_suite_s_file_is_told_by_line_and_field(poise: Poise) -> None:
    Path("checkpoint").mkdir()
    Path("ours.yaml").write_text(
        "name: ours\nextends: math-v1\nbenchmarks:\n  - {name: a, wieght: 1}\n", encoding="utf-8"
    )
    found = poise("score", "checkpoint", "--settings", PAPER, "--suite", "ours.yaml")
    assert found.code == 2
    assert "ours.yaml, line 4: benchmarks[0].wieght is no field here; did you mean weight?" in found.err


def test_scoring_asks_for_the_base_first(poise: Poise, tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    text = Path(PAPER).read_text(encoding="utf-8").replace("path: Qwen/Qwen2.5-Math-1.5B", "path: /models/none")
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    found = poise("score", "checkpoint", "--settings", "s.yaml")
    assert found.code == 2
    assert "evaluation.verl.model.path: /models/none: there is no such folder" in found.err
    found = poise("score", "checkpoint", "--settings", PAPER, "--suite", "math-v2")
    assert "unknown suite 'math-v2'" in found.err
