"""Group normalisation II.

Starting from Outcome-anchored scale + format stream (full-014-0), this algorithm brings in group normalisation and
gives up outcome-anchored scale. Easy and hard groups get signals of the same size. Revision 2 takes the new settings
further, because the first ones changed nothing.

    r = 1[correct]
    mu = mean of r over the group
    A = (r - mu) / sqrt(var over the group + eps)^normalise
    A := negative_scale * A where A < 0
    A := A - fail_penalty in all-fail groups
    A := A + format_weight * (valid - mean of valid over the group)
    A := soft_limit * tanh(A / soft_limit)
    loss = -min(rho * A, clip(rho, 1 - clip_ratio, 1 + clip_ratio) * A)
    mean over all tokens of the mini-batch
    loss += kl_coef * k3(pi || ref)
    loss -= imitation * log pi where A > 0
    clip_ratio := clip_ratio * (1 - clip_anneal * progress)
"""

import torch
from torch import Tensor

from poise_lib.algorithms import ops
from poise_lib.algorithms.contract import Batch, Family, Hyper, Hyperparameter, LossInputs, LossOutput, Mechanism

TITLE = "Group normalisation II"
SOURCE = (
    "arXiv:2402.03300; after arXiv:2506.01347; arXiv:2603.23951, PR; arXiv:2603.23951, DFR and CDA; arXiv:2504.05118"
)
AGGREGATION = "token-mean"
NEEDS = ("reference",)
HYPERPARAMETERS = {
    "centre": Hyperparameter(1.0, 0.0, 1.0, "1 compares with the group mean, 0 takes the reward as it is"),
    "eps": Hyperparameter(3.16e-05, 1e-08, 0.01, "added to the group variance, inside the root"),
    "normalise": Hyperparameter(0.812, 0.0, 1.0, "power of the group deviation in the denominator"),
    "negative_scale": Hyperparameter(0.6, 0.1, 1.0, "share that negative signals keep"),
    "fail_penalty": Hyperparameter(0.2, 0.0, 1.0, "what every member of an all-fail group loses"),
    "format_weight": Hyperparameter(0.5, 0.0, 2.0, "weight of the format stream"),
    "soft_limit": Hyperparameter(2.0, 0.0, 5.0, "size at which advantages saturate; 0 lets them be"),
    "clip_ratio": Hyperparameter(0.087, 0.05, 0.5, "half width of the clip interval around a ratio of 1"),
    "kl_coef": Hyperparameter(0.001, 0.0, 0.05, "weight of the k3 KL term to the reference"),
    "imitation": Hyperparameter(0.00798, 0.0, 0.3, "weight of the imitation term"),
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
        "negative-damping",
        Family.ROUTING,
        "Pushing away from a wrong response moves probability anywhere, so negatives count less.",
        "negative_scale",
        1.0,
    ),
    Mechanism(
        "uniform-penalty",
        Family.FAILURE_CONTROL,
        "A prompt that always fails pushes away from what was tried, gently and whatever it was.",
        "fail_penalty",
        0.0,
    ),
    Mechanism(
        "format-stream",
        Family.FAILURE_CONTROL,
        "Format has a stream of its own, so its lesson does not dilute that of correctness.",
        "format_weight",
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
        "reference-kl", Family.STABILISATION, "A KL term keeps the policy close to the reference.", "kl_coef", 0.0
    ),
    Mechanism(
        "positive-imitation",
        Family.OBJECTIVE,
        "Responses above their baseline are also imitated outright, which clipping cannot stop.",
        "imitation",
        0.0,
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


def advantages(batch: Batch, hyper: Hyper) -> Tensor:
    """Group mean, group normalisation, damped negatives, uniform failure penalty, format stream, saturating
    advantages; [B, T].
    """
    baseline = hyper["centre"] * ops.group_mean(batch.rewards, batch.group)
    signal = batch.rewards - baseline
    signal = signal / group_deviation(batch, hyper)
    signal = torch.where(signal < 0, hyper["negative_scale"] * signal, signal)
    failed = ops.group_sum(batch.correct.float(), batch.group) == 0.0
    signal = signal - hyper["fail_penalty"] * failed.float()
    valid = batch.valid.float()
    signal = signal + hyper["format_weight"] * (valid - ops.group_mean(valid, batch.group))
    if hyper["soft_limit"] > 0.0:
        signal = hyper["soft_limit"] * torch.tanh(signal / hyper["soft_limit"])
    return ops.spread(signal, batch.response_mask)


def annealed_clip_ratio(inputs: LossInputs, hyper: Hyper) -> float:
    """Half width of the interval, narrowing over training."""
    progress = inputs.step / max(1, inputs.total_steps)
    return hyper["clip_ratio"] * (1.0 - hyper["clip_anneal"] * progress)


def policy_loss(inputs: LossInputs, hyper: Hyper) -> LossOutput:
    """PPO clip, reference KL, imitation of successes; [B, T]."""
    clip_ratio = annealed_clip_ratio(inputs, hyper)
    ratio = ops.log_ratio(inputs.logprobs, inputs.old_logprobs, inputs.response_mask).exp()
    loss, clipped = ops.clipped_surrogate(ratio, inputs.advantages, clip_ratio, clip_ratio)
    kl = ops.kl_k3(inputs.logprobs, inputs.ref_logprobs, inputs.response_mask)
    loss = loss + hyper["kl_coef"] * kl
    success = (inputs.advantages > 0).float()
    loss = loss - hyper["imitation"] * success * inputs.logprobs
    return LossOutput(loss, {"clip_fraction": clipped, "kl": kl.detach()})
