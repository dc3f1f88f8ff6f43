"""Mechanisms switched off: what remains is the parent's formula."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from poise_lib.algorithms import ops, registry
from poise_lib.algorithms.aggregation import MiniBatchCounts, aggregate
from tests.unit.algorithms.builders import MAX_LENGTH, ROWS, batch_of, loss_inputs_of


def advantages(name: str, **hyper: float) -> Tensor:
    algorithm = registry.load(name)
    return algorithm.advantages(batch_of(algorithm, ROWS, hyper), algorithm.hyper(hyper))


PARENTS = [
    # GRPO and what it becomes with no normalisation
    (("grpo", {"normalise": 0.0}), ("dr-grpo", {}), 1.0),
    (("dr-grpo", {"normalise": 1.0}), ("grpo", {}), 1.0),
    (("gspo", {"normalise": 0.0}), ("dr-grpo", {}), 1.0),
    (("gmpo", {"normalise": 0.0}), ("dr-grpo", {}), 1.0),
    (("sapo", {"normalise": 0.0}), ("dr-grpo", {}), 1.0),
    (("aspo", {"normalise": 0.0}), ("dr-grpo", {}), 1.0),
    # rewards of plus and minus one have twice the spread, which normalisation takes out again
    (("dapo", {"overlong_penalty": 0.0, "normalise": 0.0}), ("dr-grpo", {}), 2.0),
    (("dapo", {"overlong_penalty": 0.0}), ("grpo", {}), 1.0),
    (("rloo", {"leave_one_out": 0.0, "kl_coef": 0.0}), ("dr-grpo", {}), 1.0),
    (("reinforce-pp", {"normalise": 0.0, "group_baseline": 1.0, "kl_coef": 0.0}), ("dr-grpo", {}), 1.0),
    # lineage GRPO -> RF -> BN -> AV -> VM-AV
    (("rf", {"damping": 0.0, "fallback_kl": 0.0, "format_penalty": 0.0}), ("grpo", {}), 1.0),
    (("bn", {"normalise": 0.0, "format_penalty": 0.0}), ("dr-grpo", {}), 1.0),
    (("av", {"normalise": 0.0, "format_penalty": 0.0}), ("dr-grpo", {}), 1.0),
    (("av", {"format_penalty": 0.0}), ("grpo", {}), 1.0),
    (
        ("vm-av", {"mask_invalid": 0.0, "prior_strength": 0.0, "length_power": 0.0}),
        ("av", {"format_penalty": 0.0}),
        1.0,
    ),
    (
        ("vm-av", {"mask_invalid": 0.0, "prior_strength": 0.0, "length_power": 0.0, "normalise": 0.0}),
        ("dr-grpo", {}),
        1.0,
    ),
    # the other branches
    (("msa", {"length_power": 0.0, "format_penalty": 0.0}), ("grpo", {}), 1.0),
    (("fa", {"failure_scale": 0.0}), ("grpo", {}), 1.0),
    (("dfr", {"format_weight": 0.0, "entropy_weight": 0.0}), ("grpo", {}), 1.0),
    (("pr", {"fail_advantage": 0.0}), ("grpo", {}), 1.0),
    (("pr", {"fail_advantage": 0.0, "normalise": 0.0}), ("dr-grpo", {}), 1.0),
    (("cda", {"optimism": 0.0, "format_weight": 0.0, "efficiency_weight": 0.0}), ("av", {"format_penalty": 0.0}), 1.0),
    (("sa", {"group_weight": 1.0}), ("dr-grpo", {}), 2.0),
    (("dace", {"difficulty_boost": 0.0, "efficiency_weight": 0.0}), ("grpo", {}), 1.0),
    (("cag", {"efficiency_weight": 0.0}), ("grpo", {}), 1.0),
    (("dcbe", {"efficiency_weight": 0.0}), ("grpo", {}), 1.0),
]


@pytest.mark.parametrize(("child", "parent", "factor"), PARENTS, ids=lambda case: str(case))
def test_advantages_without_the_ideas_are_the_parents(
    child: tuple[str, dict[str, float]], parent: tuple[str, dict[str, float]], factor: float
) -> None:
    expected = factor * advantages(parent[0], **parent[1])
    assert expected.abs().max() > 0.4
    torch.testing.assert_close(advantages(child[0], **child[1]), expected, atol=1e-4, rtol=1e-4)


def engine_loss(name: str, **hyper: float) -> tuple[Tensor, Tensor]:
    """The reduced loss on ``ROWS`` and its gradient."""
    algorithm = registry.load(name)
    values = algorithm.hyper(hyper)
    batch = batch_of(algorithm, ROWS, hyper)
    inputs = loss_inputs_of(
        algorithm, algorithm.advantages(batch, values), batch.response_mask, dtype=torch.float64, spread=0.5
    )
    counts = MiniBatchCounts(sum(row.length for row in ROWS), len(ROWS), MAX_LENGTH)
    loss = aggregate(algorithm.policy_loss(inputs, values).loss, batch.response_mask, algorithm.aggregation, counts)
    return loss, torch.autograd.grad(loss, inputs.logprobs)[0]


LOSS_PARENTS = [
    # a constant length norm with its bias back is GRPO's mean over each response
    (("dr-grpo", {"normalise": 1.0, "length_bias": 1.0}), ("grpo", {"kl_coef": 0.0})),
    # one ratio per token, clipped alike, averaged over each response
    (("gspo", {"sequence_level": 0.0, "clip_low": 0.2, "clip_high": 0.2}), ("grpo", {"kl_coef": 0.0})),
    # the objective that the paper's algorithms share is GRPO's
    (("rf", {"damping": 0.0, "fallback_kl": 0.0, "format_penalty": 0.0}), ("grpo", {})),
    (("fa", {"failure_scale": 0.0}), ("grpo", {})),
]


@pytest.mark.parametrize(("child", "parent"), LOSS_PARENTS, ids=lambda case: str(case))
def test_losses_without_the_ideas_are_the_parents(
    child: tuple[str, dict[str, float]], parent: tuple[str, dict[str, float]]
) -> None:
    for actual, expected in zip(engine_loss(child[0], **child[1]), engine_loss(parent[0], **parent[1]), strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-6, rtol=1e-4)


def test_gmpo_with_an_arithmetic_mean_is_clipping_in_logarithms() -> None:
    """Ratios bounded to (e^-c, e^c), as a decoupled clip expresses it, averaged over each response."""
    gmpo, dapo = registry.load("gmpo"), registry.load("dapo")
    hyper = gmpo.hyper({"geometric": 0.0, "log_clip": 0.3})
    clip = {"clip_low": 1.0 - math.exp(-0.3), "clip_high": math.exp(0.3) - 1.0}
    batch = batch_of(gmpo)
    inputs = loss_inputs_of(gmpo, gmpo.advantages(batch, hyper), batch.response_mask, dtype=torch.float64, spread=0.5)
    expected = ops.sequence_mean(dapo.policy_loss(inputs, dapo.hyper(clip)).loss, batch.response_mask)
    torch.testing.assert_close(gmpo.policy_loss(inputs, hyper).loss, expected)


def test_sapo_with_equal_temperatures_is_symmetric() -> None:
    """The sign of the advantage then decides nothing but the sign of the loss."""
    sapo = registry.load("sapo")
    hyper = sapo.hyper({"tau_neg": 1.0})
    batch = batch_of(sapo)
    values = sapo.advantages(batch, hyper)
    plus, minus = (
        sapo.policy_loss(loss_inputs_of(sapo, sign * values, batch.response_mask), hyper).loss for sign in (1, -1)
    )
    torch.testing.assert_close(plus, -minus)


def test_sapo_without_its_gate_is_the_bare_ratio() -> None:
    sapo = registry.load("sapo")
    hyper = sapo.hyper({"soft_gate": 0.0})
    batch = batch_of(sapo)
    inputs = loss_inputs_of(sapo, sapo.advantages(batch, hyper), batch.response_mask)
    ratio = (inputs.logprobs - inputs.old_logprobs).exp()
    torch.testing.assert_close(sapo.policy_loss(inputs, hyper).loss, -ratio * inputs.advantages)
