"""Losses: values against NumPy written from the papers, gradients against central differences of that NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from poise_lib.algorithms import ops, registry
from poise_lib.algorithms.aggregation import MiniBatchCounts, aggregate
from poise_lib.algorithms.contract import Algorithm, Hyper, LossInputs
from tests.unit.algorithms.builders import MAX_LENGTH, ROWS, batch_of, loss_inputs_of, mask_of

Array = np.ndarray
TokenLoss = Callable[[Array, Array, Array, Array, Hyper], Array]
"""(log-probabilities, old, reference, advantages, hyper) of one response's tokens -> the loss of each of them."""


def clipped(rho: Array, advantage: Array, low: float, high: float) -> Array:
    return -np.minimum(rho * advantage, np.clip(rho, 1 - low, 1 + high) * advantage)


def k3(new: Array, ref: Array) -> Array:
    return np.exp(ref - new) - (ref - new) - 1


def grpo(new: Array, old: Array, ref: Array, advantage: Array, hyper: Hyper) -> Array:
    c = hyper["clip_ratio"]
    return clipped(np.exp(new - old), advantage, c, c) + hyper["kl_coef"] * k3(new, ref)


def no_kl(new: Array, old: Array, ref: Array, advantage: Array, hyper: Hyper) -> Array:
    return clipped(np.exp(new - old), advantage, hyper["clip_ratio"], hyper["clip_ratio"])


def dapo(new: Array, old: Array, ref: Array, advantage: Array, hyper: Hyper) -> Array:
    return clipped(np.exp(new - old), advantage, hyper["clip_low"], hyper["clip_high"])


def gspo(new: Array, old: Array, ref: Array, advantage: Array, hyper: Hyper) -> Array:
    """The same for every token, so that the mean over tokens is the loss of the sequence."""
    ratio = (np.exp(new).prod() / np.exp(old).prod()) ** (1 / len(new))
    return clipped(np.full(len(new), ratio), advantage, hyper["clip_low"], hyper["clip_high"])


def gmpo(new: Array, old: Array, ref: Array, advantage: Array, hyper: Hyper) -> Array:
    """The objective as the paper writes it: a product of bounded ratios to the power 1 / length."""
    rho, low, high = np.exp(new - old), math.exp(-hyper["log_clip"]), math.exp(hyper["log_clip"])
    if advantage[0] >= 0:
        bounded = np.minimum(rho, np.clip(rho, low, high))
    else:
        bounded = np.maximum(rho, np.clip(rho, low, high))
    return np.full(len(new), -advantage[0] * bounded.prod() ** (1 / len(new)))


def sapo(new: Array, old: Array, ref: Array, advantage: Array, hyper: Hyper) -> Array:
    tau = np.where(advantage > 0, hyper["tau_pos"], hyper["tau_neg"])
    return -advantage * 4 / tau / (1 + np.exp(-tau * (np.exp(new - old) - 1)))


LOSSES: dict[str, TokenLoss] = {
    "grpo": grpo,
    "dapo": dapo,
    "dr-grpo": no_kl,
    "gspo": gspo,
    "gmpo": gmpo,
    "sapo": sapo,
    "rloo": no_kl,
    "reinforce-pp": no_kl,
    **dict.fromkeys(("rf", "msa", "fa", "dfr", "pr", "cda", "sa", "cag", "dcbe"), grpo),
}


def inputs_of(algorithm: Algorithm, hyper: Hyper, spread: float = 0.3) -> LossInputs:
    """Double precision, so that central differences are worth something."""
    batch = batch_of(algorithm)
    advantages = algorithm.advantages(batch, hyper)
    return loss_inputs_of(algorithm, advantages, batch.response_mask, spread, dtype=torch.float64)


def token_losses(loss: TokenLoss, new: Array, inputs: LossInputs, hyper: Hyper) -> list[Array]:
    old, advantages = inputs.old_logprobs.numpy(), inputs.advantages.numpy()
    ref = inputs.ref_logprobs.numpy() if inputs.ref_logprobs is not None else np.zeros_like(old)
    return [
        loss(new[i, : row.length], old[i, : row.length], ref[i, : row.length], advantages[i, : row.length], hyper)
        for i, row in enumerate(ROWS)
    ]


def reduced(losses: list[Array], mode: str) -> float:
    if mode == "token-mean":
        return float(np.concatenate(losses).mean())
    if mode in ("seq-mean-token-mean", "seq-mean"):
        return float(np.mean([values.mean() for values in losses]))
    sums = [values.sum() for values in losses]
    return float(np.mean(sums)) / (MAX_LENGTH if mode == "seq-mean-token-sum-norm" else 1)


def engine_loss(algorithm: Algorithm, inputs: LossInputs, hyper: Hyper) -> Tensor:
    counts = MiniBatchCounts(sum(row.length for row in ROWS), len(ROWS), MAX_LENGTH)
    return aggregate(algorithm.policy_loss(inputs, hyper).loss, inputs.response_mask, algorithm.aggregation, counts)


@pytest.mark.parametrize("spread", [0.0, 0.3, 1.5])
@pytest.mark.parametrize("name", LOSSES)
def test_value(name: str, spread: float) -> None:
    algorithm = registry.load(name)
    hyper = algorithm.hyper()
    inputs = inputs_of(algorithm, hyper, spread)
    expected = reduced(
        token_losses(LOSSES[name], inputs.logprobs.detach().numpy(), inputs, hyper), algorithm.aggregation
    )
    assert engine_loss(algorithm, inputs, hyper).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_gradient(name: str) -> None:
    algorithm = registry.load(name)
    hyper = algorithm.hyper({"clip_low": 0.2, "clip_high": 0.25} if name == "gspo" else {})
    inputs = inputs_of(algorithm, hyper)
    (gradient,) = torch.autograd.grad(engine_loss(algorithm, inputs, hyper), inputs.logprobs)
    assert not gradient[~inputs.response_mask].any()
    start, step = inputs.logprobs.detach().numpy(), 1e-6
    checked = np.zeros(start.shape)
    for index in np.argwhere(inputs.response_mask.numpy()):
        shift = np.zeros(start.shape)
        shift[tuple(index)] = step
        above, below = (
            reduced(token_losses(LOSSES[name], start + sign * shift, inputs, hyper), algorithm.aggregation)
            for sign in (1, -1)
        )
        checked[tuple(index)] = (above - below) / (2 * step)
    assert np.abs(checked).max() > 1e-3
    np.testing.assert_allclose(gradient.numpy(), checked, atol=1e-7)


def single_response(ratios: list[float], advantage: float) -> LossInputs:
    """Tokens with these importance ratios and one advantage."""
    new = torch.tensor([ratios], dtype=torch.float64).log().requires_grad_()
    old = torch.zeros_like(new, requires_grad=False).detach()
    mask = torch.ones(new.shape, dtype=torch.bool)
    return LossInputs(new, old, None, None, torch.full_like(old, advantage), mask, None, {}, 0, 1)


def test_clipping_takes_the_gradient_where_it_should() -> None:
    """Two tokens a row with ratios 1.5 and 0.5: clipped if A > 0 and high, or A < 0 and low."""
    algorithm = registry.load("grpo")
    old = torch.zeros(2, 2)
    new = torch.tensor([[1.5, 0.5], [1.5, 0.5]]).log().requires_grad_()
    advantages = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    inputs = LossInputs(
        new, old, torch.zeros(2, 2), None, advantages, torch.ones(2, 2, dtype=torch.bool), None, {}, 0, 1
    )
    output = algorithm.policy_loss(inputs, algorithm.hyper({"kl_coef": 0.0}))
    torch.testing.assert_close(output.loss, torch.tensor([[-1.2, -0.5], [1.5, 0.8]]))
    assert output.metrics["clip_fraction"].tolist() == [[1.0, 0.0], [0.0, 1.0]]
    (gradient,) = torch.autograd.grad(output.loss.sum(), new)
    torch.testing.assert_close(gradient, torch.tensor([[0.0, -0.5], [1.5, 0.0]]))


@pytest.mark.parametrize(
    ("name", "advantage", "expected"),
    [
        ("dapo", 1.0, [0.0, 0.0, 0.0, 1.0]),
        ("dapo", -1.0, [1.0, 0.0, 0.0, 0.0]),
        ("gmpo", 1.0, [0.0, 0.0, 0.0, 1.0]),
        ("gmpo", -1.0, [1.0, 0.0, 0.0, 0.0]),
        ("aspo", 1.0, [0.0, 0.0, 0.0, 1.0]),
        ("aspo", -1.0, [1.0, 0.0, 0.0, 0.0]),
        # the geometric mean of these ratios is (0.5 * 1.25 * 2)^(1/4) = 1.057, above all of GSPO's interval
        ("gspo", 1.0, [1.0, 1.0, 1.0, 1.0]),
        ("gspo", -1.0, [0.0, 0.0, 0.0, 0.0]),
    ],
)
def test_clip_fraction(name: str, advantage: float, expected: list[float]) -> None:
    """The metric that diagnostics read marks the tokens that have lost their gradient."""
    algorithm = registry.load(name)
    inputs = single_response([0.5, 1.0, 1.25, 2.0], advantage)
    assert algorithm.policy_loss(inputs, algorithm.hyper()).metrics["clip_fraction"].tolist() == [expected]


@pytest.mark.parametrize("name", ["bn", "av"])
def test_kl_and_entropy_terms_stand_in_the_loss(name: str) -> None:
    algorithm = registry.load(name)
    hyper = algorithm.hyper({"kl_coef": 0.05, "entropy_coef": 0.02})
    inputs = inputs_of(algorithm, hyper)
    assert inputs.entropy is not None
    assert inputs.ref_logprobs is not None
    bare = algorithm.policy_loss(inputs, algorithm.hyper({"kl_coef": 0.0, "entropy_coef": 0.0})).loss
    full = algorithm.policy_loss(inputs, hyper).loss
    gap = inputs.ref_logprobs - inputs.logprobs
    expected = 0.05 * (gap.exp() - gap - 1) - 0.02 * inputs.entropy
    torch.testing.assert_close((full - bare)[inputs.response_mask], expected[inputs.response_mask])


@pytest.mark.parametrize(
    ("advantage", "weights"),
    [
        # ratios 0.1, 0.5, 1, 1.2, 1.5, 5: positive tokens weigh 1 / ratio, at most 3; above 1.28 they are masked
        (2.0, [3.0, 2.0, 1.0, 1 / 1.2, 0.0, 0.0]),
        # negative tokens weigh the ratio, at most 3; below 0.8 they are masked
        (-2.0, [0.0, 0.0, 1.0, 1.2, 1.5, 3.0]),
    ],
)
def test_aspo_gradient(advantage: float, weights: list[float]) -> None:
    """-A * weight * grad log pi, and the dual clip keeps the gradient of what it bounds."""
    algorithm = registry.load("aspo")
    inputs = single_response([0.1, 0.5, 1.0, 1.2, 1.5, 5.0], advantage)
    loss = algorithm.policy_loss(inputs, algorithm.hyper()).loss
    (gradient,) = torch.autograd.grad(loss.sum(), inputs.logprobs)
    expected = -advantage * torch.tensor([weights], dtype=torch.float64)
    torch.testing.assert_close(gradient, expected)


def test_aspo_without_its_ideas_has_dapos_gradient() -> None:
    aspo, dapo = registry.load("aspo"), registry.load("dapo")
    hyper = aspo.hyper({"flip": 0.0, "soft_dual_clip": 0.0})
    inputs = inputs_of(aspo, hyper)
    (actual,) = torch.autograd.grad(aspo.policy_loss(inputs, hyper).loss.sum(), inputs.logprobs)
    (expected,) = torch.autograd.grad(dapo.policy_loss(inputs, dapo.hyper()).loss.sum(), inputs.logprobs)
    torch.testing.assert_close(actual, expected)


def test_sapo_gate_is_one_on_policy_and_fades() -> None:
    algorithm = registry.load("sapo")
    inputs = single_response([0.2, 1.0, 4.0], 1.0)
    output = algorithm.policy_loss(inputs, algorithm.hyper())
    gate = output.metrics["gate"][0]
    assert gate[1].item() == pytest.approx(1.0)
    assert gate[0].item() < 1.0 > gate[2].item()
    (gradient,) = torch.autograd.grad(output.loss.sum(), inputs.logprobs)
    torch.testing.assert_close(gradient, -gate.unsqueeze(0) * inputs.logprobs.detach().exp())


def test_sapo_negative_advantages_fade_sooner() -> None:
    algorithm = registry.load("sapo")
    gates = [
        algorithm.policy_loss(single_response([3.0], sign), algorithm.hyper()).metrics["gate"].item()
        for sign in (1.0, -1.0)
    ]
    assert gates[1] < gates[0]


def test_on_policy_all_surrogates_have_one_gradient() -> None:
    """At a ratio of 1 every objective is the policy gradient, -A * grad log pi, up to its aggregation."""
    mask = mask_of(ROWS)
    advantages = ops.spread(torch.linspace(-2, 2, len(ROWS)), mask)
    gradients = []
    for name in ("grpo", "gspo", "gmpo", "sapo"):
        algorithm = registry.load(name)
        hyper = algorithm.hyper({"kl_coef": 0.0} if name == "grpo" else {})
        inputs = loss_inputs_of(algorithm, advantages, mask, spread=0.0)
        gradients.append(torch.autograd.grad(engine_loss(algorithm, inputs, hyper), inputs.logprobs)[0])
    expected = -advantages / mask.sum(-1, keepdim=True) / len(ROWS)
    for gradient in gradients:
        torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("name", registry.NAMES)
def test_ratios_beyond_all_bounds_stay_finite(name: str) -> None:
    """A token that was sampled with probability e^-1000, or has now that probability."""
    algorithm = registry.load(name)
    hyper = algorithm.hyper()
    for shift in (1000.0, -1000.0):
        inputs = inputs_of(algorithm, hyper)
        far = (inputs.logprobs.detach() + shift * inputs.response_mask).requires_grad_()
        inputs = replace(inputs, logprobs=far)
        loss = algorithm.policy_loss(inputs, hyper).loss
        (gradient,) = torch.autograd.grad(loss.sum(), far, allow_unused=False)
        assert torch.isfinite(loss).all()
        assert torch.isfinite(gradient).all()
