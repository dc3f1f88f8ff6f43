"""Length equaliser + flipped positive ratios.

Starting from Rare-success amplification + damped negatives (full-006-1), this algorithm brings in length equaliser and
flipped positive ratios and gives up dual clip. Long responses hold more of the update; each response is brought towards
equal weight. Positive tokens that lag behind get the larger weight; a plain ratio favours those ahead.

    r = 1[correct]
    mu = mean of r over the group
    A = (r - mu) / sqrt(var over the group + eps)^normalise
    A := A * (1 + rare_gain * (1 - pass rate)^2) where A > 0
    A := negative_scale * A where A < 0
    A := A * clip(mean L of the batch / L, 0.25, 4)^equalise
    A := soft_limit * tanh(A / soft_limit)
    loss = -A * w * rho / sg(rho), w = 1 / rho if A > 0 else rho, masked as PPO clips, w <= weight_cap
    mean over responses of the sum over tokens
    loss += kl_coef * k3(pi || ref)
    clip_ratio := clip_ratio * (1 - clip_anneal * progress)
"""

import torch
from torch import Tensor

from poise_lib.algorithms import ops
from poise_lib.algorithms.contract import Batch, Family, Hyper, Hyperparameter, LossInputs, LossOutput, Mechanism

TITLE = "Length equaliser + flipped positive ratios"
SOURCE = (
    "arXiv:2402.03300; "
    "arXiv:2603.23951, principle of rare successes; "
    "after arXiv:2506.01347; "
    "after arXiv:2503.20783; "
    "arXiv:2510.06062"
)
AGGREGATION = "seq-mean-token-sum"
NEEDS = ("reference",)
HYPERPARAMETERS = {
    "centre": Hyperparameter(1.0, 0.0, 1.0, "1 compares with the group mean, 0 takes the reward as it is"),
    "eps": Hyperparameter(1e-06, 1e-08, 0.01, "added to the group variance, inside the root"),
    "normalise": Hyperparameter(1.0, 0.0, 1.0, "power of the group deviation in the denominator"),
    "rare_gain": Hyperparameter(1.0, 0.0, 4.0, "extra weight of a lone success"),
    "negative_scale": Hyperparameter(0.6, 0.1, 1.0, "share that negative signals keep"),
    "equalise": Hyperparameter(0.5, 0.0, 1.0, "1 gives every response the same weight"),
    "soft_limit": Hyperparameter(2.0, 0.0, 5.0, "size at which advantages saturate; 0 lets them be"),
    "flip": Hyperparameter(1.0, 0.0, 1.0, "1 flips the ratio of positive tokens, 0 keeps it"),
    "clip_ratio": Hyperparameter(0.2, 0.05, 0.5, "half width of the clip interval around a ratio of 1"),
    "weight_cap": Hyperparameter(3.0, 1.5, 10.0, "the largest weight of a token"),
    "kl_coef": Hyperparameter(0.001, 0.0, 0.05, "weight of the k3 KL term to the reference"),
    "clip_anneal": Hyperparameter(0.5, 0.0, 0.9, "share of the width that is gone at the end"),
}
MECHANISMS = (
    Mechanism("group-mean", Family.CORE_SIGNAL, "Each response is compared with the mean of its group.", "centre", 0.0),
    Mechanism(
        "group-normalisation",
        Family.CORE_SIGNAL,
        "Easy and hard groups get signals of the same size.",
        "normalise",
        0.0,
    ),
    Mechanism(
        "rare-success",
        Family.ROUTING,
        "The few successes of a hard prompt are amplified; its many failures are left alone.",
        "rare_gain",
        0.0,
    ),
    Mechanism(
        "negative-damping",
        Family.ROUTING,
        "Pushing away from a wrong response moves probability anywhere, so negatives count less.",
        "negative_scale",
        1.0,
    ),
    Mechanism(
        "length-equaliser",
        Family.LENGTH_SHAPING,
        "Long responses hold more of the update; each response is brought towards equal weight.",
        "equalise",
        0.0,
    ),
    Mechanism(
        "soft-advantage-clip",
        Family.STABILISATION,
        "Advantages saturate smoothly, so outliers keep their order and lose their force.",
        "soft_limit",
        0.0,
    ),
    Mechanism(
        "ratio-flip",
        Family.OBJECTIVE,
        "Positive tokens that lag behind get the larger weight; a plain ratio favours those ahead.",
        "flip",
        0.0,
    ),
    Mechanism(
        "reference-kl", Family.STABILISATION, "A KL term keeps the policy close to the reference.", "kl_coef", 0.0
    ),
    Mechanism(
        "clip-schedule",
        Family.CONTROLLER,
        "A wide interval lets the policy travel early; it narrows so that late updates only polish.",
        "clip_anneal",
        0.0,
    ),
)


def group_deviation(batch: Batch, hyper: Hyper) -> Tensor:
    """Deviation of the group's rewards, epsilon inside the root, to the power ``normalise``; [B]."""
    return (ops.group_var(batch.rewards, batch.group) + hyper["eps"]).sqrt() ** hyper["normalise"]


def amplify_rare_success(signal: Tensor, batch: Batch, hyper: Hyper) -> Tensor:
    """Raise positive signals, the more the rarer success is in their group; [B]."""
    failure_rate = 1.0 - ops.group_mean(batch.correct.float(), batch.group)
    gain = 1.0 + hyper["rare_gain"] * failure_rate * failure_rate
    return torch.where(signal > 0, gain * signal, signal)


def advantages(batch: Batch, hyper: Hyper) -> Tensor:
    """Group mean, group normalisation, rare-success amplification, damped negatives, length equaliser, saturating
    advantages; [B, T].
    """
    baseline = hyper["centre"] * ops.group_mean(batch.rewards, batch.group)
    signal = batch.rewards - baseline
    signal = signal / group_deviation(batch, hyper)
    signal = amplify_rare_success(signal, batch, hyper)
    signal = torch.where(signal < 0, hyper["negative_scale"] * signal, signal)
    length = batch.length.float().clamp(min=1.0)
    signal = signal * (length.mean() / length).clamp(0.25, 4.0) ** hyper["equalise"]
    if hyper["soft_limit"] > 0.0:
        signal = hyper["soft_limit"] * torch.tanh(signal / hyper["soft_limit"])
    return ops.spread(signal, batch.response_mask)


def annealed_clip_ratio(inputs: LossInputs, hyper: Hyper) -> float:
    """Half width of the interval, narrowing over training."""
    progress = inputs.step / max(1, inputs.total_steps)
    return hyper["clip_ratio"] * (1.0 - hyper["clip_anneal"] * progress)


def policy_loss(inputs: LossInputs, hyper: Hyper) -> LossOutput:
    """Flipped positive ratios, reference KL; [B, T]."""
    clip_ratio = annealed_clip_ratio(inputs, hyper)
    log_ratio = ops.log_ratio(inputs.logprobs, inputs.old_logprobs, inputs.response_mask)
    ratio = log_ratio.detach().exp()
    positive = inputs.advantages > 0
    weight = torch.where(positive, ratio ** (1.0 - 2.0 * hyper["flip"]), ratio).clamp(max=hyper["weight_cap"])
    outside = torch.where(positive, ratio > 1.0 + clip_ratio, ratio < 1.0 - clip_ratio)
    unit = (log_ratio - log_ratio.detach()).exp()
    loss = -inputs.advantages * weight * torch.where(outside, unit.detach(), unit)
    clipped = outside.float()
    kl = ops.kl_k3(inputs.logprobs, inputs.ref_logprobs, inputs.response_mask)
    loss = loss + hyper["kl_coef"] * kl
    return LossOutput(loss, {"clip_fraction": clipped, "kl": kl.detach()})
