"""A well-formed candidate to break, and verification with the child in this process (PyTorch is imported once)."""

from pathlib import Path

import pytest

from poise_lib.sandbox import SandboxResult
from poise_lib.verification.verifier import verify

CANDIDATE = '''"""A candidate with one mechanism of its own."""

import math

import torch
from torch import Tensor

from poise_lib.algorithms import ops
from poise_lib.algorithms.contract import Batch, Family, Hyperparameter, LossInputs, LossOutput, Mechanism

TITLE = "Damped GRPO"
AGGREGATION = "token-mean"
NEEDS = ("reference", "entropy")
HYPERPARAMETERS = {
    "damping": Hyperparameter(0.3, 0.0, 1.0, "added to the deviation"),
    "clip": Hyperparameter(0.2, 0.05, 0.5),
    "kl": Hyperparameter(0.01, 0.0, 0.1),
    "bonus": Hyperparameter(default=0.01, low=0.0, high=0.1),
}
MECHANISMS = (
    Mechanism("damping", Family.STABILISATION, "Caps rare outcomes.", "damping", 0.0),
    Mechanism(name="bonus", family=Family.CONTROLLER, claim="Explores.", hyperparameter="bonus", off=0.0),
)


def advantages(batch: Batch, hyper) -> Tensor:
    """Damped group-relative correctness."""
    centred = batch.rewards - ops.group_mean(batch.rewards, batch.group)
    scale = (ops.group_var(batch.rewards, batch.group) + 1e-6).sqrt() + hyper["damping"]
    result = ops.spread(centred / scale, batch.response_mask)
    return result


def policy_loss(inputs: LossInputs, hyper) -> LossOutput:
    """Clipped surrogate, KL term, entropy bonus."""
    mask = inputs.response_mask
    ratio = ops.log_ratio(inputs.logprobs, inputs.old_logprobs, mask).exp()
    loss, clipped = ops.clipped_surrogate(ratio, inputs.advantages, hyper["clip"], hyper["clip"])
    loss = loss + hyper["kl"] * ops.kl_k3(inputs.logprobs, inputs.ref_logprobs, mask)
    bonus = inputs.coefficients.get("bonus", hyper["bonus"])
    loss = loss - bonus * inputs.entropy * mask.float()
    return LossOutput(loss, {"clip_fraction": clipped})


def schedule(history, hyper):
    """More bonus as entropy falls."""
    entropy = history[-1].get("actor/entropy", 1.0) if history else 1.0
    return {"bonus": hyper["bonus"] * math.exp(-min(entropy, 10.0))}
'''


@pytest.fixture(scope="session")
def candidate() -> str:
    return CANDIDATE


@pytest.fixture
def broken(candidate):
    """broken(old, new, ...) -> the candidate with each ``old`` replaced."""

    def replace(*changes: str) -> str:
        source = candidate
        for old, new in zip(changes[::2], changes[1::2], strict=True):
            assert old in source, old
            source = source.replace(old, new)
        return source

    return replace


@pytest.fixture
def verify_here(tmp_path: Path):
    """``verify`` without a sandbox, for candidates that are wrong but harmless."""
    from poise_lib.verification import child

    def run_here(entry, workdir, limits, on_line=None):
        child.main(workdir)
        return SandboxResult(True, "", 0, None, "", 0.0, 0.0, 0, ())

    def call(source, **options):
        return verify(source, workdir=tmp_path, **{"training_probe": False, "run": run_here, **options})

    return call
