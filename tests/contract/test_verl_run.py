"""VeRL trains for real on this machine's processors, with a candidate of our own: Ray, workers, checkpoint, scoring."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("verl", reason="VeRL is not installed: make verl")

import torch
from safetensors.torch import load_file

from poise_lib.errors import CandidateError
from poise_lib.evaluation import trajectory as names
from poise_lib.evaluation.verl.adapter import embedded, tiny
from poise_lib.evaluation.verl.adapter.embedded import TinySettings, train_tiny
from poise_lib.evaluation.verl.adapter.processes import descendants
from poise_lib.evaluation.verl.adapter.spec import CandidateSpec
from poise_lib.evaluation.verl.scoring.score import score_checkpoint
from poise_lib.resources.suites import SUITES

pytestmark = pytest.mark.verl

CANDIDATE = '''
"""Dr. GRPO with every hook of the contract, each of which leaves a trace that nothing else leaves."""

import torch

from poise_lib.algorithms import ops
from poise_lib.algorithms.contract import Hyperparameter, LossOutput

TITLE = "traces"
AGGREGATION = "seq-mean-token-mean"
NEEDS = ("reference", "entropy")
HYPERPARAMETERS = {"bonus": Hyperparameter(0.25, 0.0, 1.0), "fail_at": Hyperparameter(1000.0, 0.0, 1000.0)}
MECHANISMS = ()


def schedule(history, hyper):
    return {"seen": float(len(history)), "entropy": history[-1]["actor/entropy"] if history else -1.0}


def rewards(outcomes, hyper):
    return outcomes.correct.float() + hyper["bonus"] * outcomes.valid.float()


def advantages(batch, hyper):
    assert batch.ref_logprobs is not None and batch.entropy is not None
    assert batch.coefficients["seen"] == batch.step
    return ops.spread(batch.rewards - ops.group_mean(batch.rewards, batch.group), batch.response_mask)


def policy_loss(inputs, hyper):
    if inputs.step >= hyper["fail_at"]:
        raise ValueError("a worker says no")
    mask = inputs.response_mask
    ratio = ops.log_ratio(inputs.logprobs, inputs.old_logprobs, mask).exp()
    drift = ops.kl_k3(inputs.logprobs, inputs.ref_logprobs, mask)
    loss = -ratio * inputs.advantages + 0.001 * drift - 0.001 * ops.token_entropy(inputs.entropy, mask)
    return LossOutput(loss, {
        "mark": torch.full_like(ratio, 40.0 + inputs.coefficients["seen"]).detach(),
        "max_gap": ops.masked(inputs.rollout_logprobs - inputs.old_logprobs, mask).abs().amax(-1).detach(),
        "kl": drift.detach(),
    })
'''
STEPS = 4
SMALL = TinySettings(steps=STEPS, prompts=8, samples=4)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[embedded.EmbeddedReport, Path]:
    workdir = tmp_path_factory.mktemp("verl")
    before = set(descendants(os.getpid()))
    report = train_tiny(CandidateSpec(name="traces", source=CANDIDATE, hyper={"bonus": 0.5}), SMALL, workdir)
    assert set(descendants(os.getpid())) <= before, "a process of the run is left"
    return report, workdir


def test_the_candidates_code_ran_in_the_workers(finished: tuple[embedded.EmbeddedReport, Path]) -> None:
    """The workers' metrics carry what the trainer's process computed from the history."""
    trajectory = finished[0].trajectory
    assert [record[names.STEP] for record in trajectory] == list(range(STEPS))
    assert [record["candidate/mark"] for record in trajectory] == pytest.approx([40.0, 41.0, 42.0, 43.0])
    assert [record["coefficient/seen"] for record in trajectory] == [0.0, 1.0, 2.0, 3.0]
    for earlier, later in itertools.pairwise(trajectory):
        assert later["coefficient/entropy"] == pytest.approx(earlier[names.ENTROPY], rel=1e-6)


def test_rewards_and_what_the_reward_function_reports_reach_the_candidate(
    finished: tuple[embedded.EmbeddedReport, Path],
) -> None:
    for record in finished[0].trajectory:
        expected = record[names.ACCURACY] + 0.5 * record[names.FORMAT_VALID]
        assert record[names.REWARD] == pytest.approx(expected, abs=1e-6)
        assert 0.0 < record[names.FORMAT_VALID] <= 1.0


def test_sampler_and_trainer_agree_on_log_probabilities(finished: tuple[embedded.EmbeddedReport, Path]) -> None:
    """Weights reach the rollout after each update: else the gap would grow."""
    gaps = [record["candidate/max_gap"] for record in finished[0].trajectory]
    assert max(gaps) < 1e-3


def test_reference_and_objective(finished: tuple[embedded.EmbeddedReport, Path]) -> None:
    trajectory = finished[0].trajectory
    assert trajectory[0][names.KL] == pytest.approx(0.0, abs=1e-6)
    assert trajectory[-1][names.KL] > 1e-6
    assert all(record[names.GRAD_NORM] > 0 for record in trajectory)


def test_the_score_is_the_checkpoints(finished: tuple[embedded.EmbeddedReport, Path]) -> None:
    """Scored again from the file; and the weights are not the base's."""
    report, workdir = finished
    base = tiny.TinyBase(workdir / "base")
    again = score_checkpoint(
        report.policy.parent, base.model, SUITES[tiny.SUITE], problems=base.problems, instruction="",
        backend="transformers", seed=SMALL.seed,
    )  # fmt: skip
    assert again.metrics == report.after
    trained, untrained = load_file(report.policy), load_file(base.model / tiny.WEIGHTS)
    assert set(trained) == set(untrained)
    assert any(not torch.equal(trained[name], untrained[name]) for name in trained)


@pytest.mark.slow
def test_a_restart_goes_on_with_the_history(tmp_path: Path) -> None:
    """From the checkpoint of the last step, in new processes: the schedule sees all earlier steps."""
    spec, kept = CandidateSpec(name="traces", source=CANDIDATE), tmp_path / "checkpoints"
    first = train_tiny(spec, replace(SMALL, steps=2), tmp_path / "first", checkpoints=kept)
    second = train_tiny(spec, SMALL, tmp_path / "second", checkpoints=kept)
    assert [record[names.STEP] for record in second.trajectory] == list(range(STEPS))
    assert second.trajectory[:2] == first.trajectory
    assert [record["coefficient/seen"] for record in second.trajectory] == [0.0, 1.0, 2.0, 3.0]
    assert second.trajectory[2]["coefficient/entropy"] == pytest.approx(first.trajectory[-1][names.ENTROPY], rel=1e-6)


@pytest.mark.slow
def test_a_candidate_that_fails_is_told_by_its_own_words(tmp_path: Path) -> None:
    """In a worker, at the second step: the first one's metrics are kept, and no process is left."""
    seen: list[Mapping[str, float]] = []
    before = set(descendants(os.getpid()))
    spec = CandidateSpec(name="traces", source=CANDIDATE, hyper={"fail_at": 1.0})
    with pytest.raises(CandidateError, match=r"step 1: policy_loss raised ValueError: a worker says no"):
        train_tiny(spec, SMALL, tmp_path, seen.append)
    assert [record[names.STEP] for record in seen] == [0.0]
    assert set(descendants(os.getpid())) <= before


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything(number: signal.Signals, tmp_path: Path) -> None:
    """Sent when Ray's processes are there, from outside."""
    file = tmp_path / "traces.py"
    file.write_text(CANDIDATE)
    command = [sys.executable, "-m", "poise_lib.cli.main", "train", str(file), "--engine", "verl", "--platform", "cpu"]
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(command, stderr=log, stdout=log, start_new_session=True) as process,
    ):
        below: list[int] = []
        while not any(b"raylet" in _command(pid) for pid in below):
            with pytest.raises(subprocess.TimeoutExpired):  # it has not ended
                process.wait(timeout=0.5)
            below = descendants(process.pid)
        process.send_signal(number)
        assert process.wait(timeout=120) == 130
    assert [pid for pid in below if b"ray" in _command(pid)] == []


def _command(pid: int) -> bytes:
    try:
        return Path("/proc", str(pid), "cmdline").read_bytes()
    except OSError:
        return b""
